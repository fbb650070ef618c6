"""`codetr doctor`: examine a dataset, write reports and repaired annotation files."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from codetr.cli.option_groups import OptionGroup, expand_option_groups
from codetr.cli.output import console, plain, print_table
from codetr.cli.settings_options import ParamsOption
from codetr.cli.source_options import SourceOptions
from codetr.core.errors import UserError, listed
from codetr.core.exit_codes import ExitCode
from codetr.core.files import require_creatable
from codetr.steps.settings import read_recipe, step_settings

if TYPE_CHECKING:
    from codetr.data.formats.open_source import Source
    from codetr.data.ingest.config import PrepareConfig
    from codetr.doctor.changes import Changes
    from codetr.doctor.examination import Examination
    from codetr.doctor.repair import RepairableFile


@dataclass(frozen=True, kw_only=True)
class DoctorOutputs(OptionGroup, panel="Reports and repair"):
    """Files that `codetr doctor` writes, and the severity of findings at which it fails."""

    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Write a page that shows examples as pictures.")
    ] = None
    json_file: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write all results as JSON.")] = None
    fix: Annotated[
        Path | None,
        typer.Option(
            "--fix",
            metavar="FOLDER",
            help="Write repaired COCO files, and changes.jsonl, which lists every change. Images are not copied.",
        ),
    ] = None
    fail_on: Annotated[
        Literal["error", "warning", "never"],
        typer.Option("--fail-on", help="Exit with code 1 if there is a finding of this severity or a higher one."),
    ] = "error"

    def require_writable(self, sources: Mapping[str, Sequence[Source]], files: Mapping[str, RepairableFile]) -> None:
        """Raise `UserError` if an output would replace what is examined, or something that is not ours."""
        from codetr.doctor.repair import require_copy_output

        if self.fix is not None:
            require_copy_output(self.fix, files)
        examined = [source.annotations.resolve() for several in sources.values() for source in several]
        for report in filter(None, (self.json_file, self.html)):
            if report.is_dir():
                raise UserError("is a folder, expected a file to write to", where=str(report))
            if report.resolve() in examined:
                raise UserError("is examined, and the report would replace it", where=str(report))
            if not report.exists():  # else it may be a device
                require_creatable(report)

    def write(self, examination: Examination, files: Mapping[str, RepairableFile], title: str) -> None:
        """Write the reports and the repaired files that were asked for, and print their paths."""
        if self.json_file is not None:
            from codetr.core.files import write_json

            write_json(self.json_file, examination.to_json())
            console().print(plain(self.json_file))
        if self.html is not None:
            from codetr.doctor.page import write_page  # loads Matplotlib, which takes a second

            write_page(examination, self.html, title=title)
            console().print(f"open {plain(self.html.resolve())}")
        if self.fix is not None:
            from codetr.doctor.repair import repair

            _print_changes(repair(files, examination.dataset, self.fix), self.fix)


@expand_option_groups
def doctor(
    *,
    dataset: Annotated[
        Path | None,
        typer.Argument(
            metavar="DATASET|FILE",
            help="A dataset written by [bold]codetr prepare[/]; or annotations: a COCO-format file, with --images, "
            "a Pascal VOC folder, or a YOLO data.yaml.",
        ),
    ] = None,
    sources: SourceOptions,
    params: ParamsOption = None,
    recipe: Annotated[
        str | None,
        typer.Option(
            "--recipe",
            metavar="NAME|FILE.yaml",
            help="Count objects as small at the input resolution of this recipe. Default: 800 pixels on the short "
            "side.",
        ),
    ] = None,
    outputs: DoctorOutputs,
) -> None:
    """Examine a dataset: statistics, errors in annotations and images, duplicates, leaks between splits.

        [cyan]codetr doctor outputs/dataset --html doctor.html[/]

        [cyan]codetr doctor train.json --images images[/]

        [cyan]codetr doctor --train train.json --val val.json --images images --fix repaired[/]

        [cyan]codetr doctor --train VOC2012[/]

        [cyan]codetr doctor coco8/data.yaml --html doctor.html[/]

        [cyan]codetr doctor outputs/dataset --fail-on warning --json doctor.json[/]

    An error loses data or falsifies metrics, a warning is likely to lower
    accuracy, a note is for information.

    Exit codes: 0; 1 for findings, see --fail-on; 2 if nothing can be examined.
    """
    from codetr.data.config import PreprocessConfig
    from codetr.data.ingest.build import fetch_sources, index_sources
    from codetr.data.ingest.max_lost import MaxLost
    from codetr.doctor.examination import examine_dataset, fails
    from codetr.doctor.repair import repairable
    from codetr.doctor.terminal import print_report

    dataset, settings = _what_to_examine(dataset, sources, params, fix=outputs.fix is not None)
    preprocess = read_recipe(recipe).preprocess if recipe else PreprocessConfig()
    with tempfile.TemporaryDirectory(prefix="codetr-doctor-") as temporary:
        folder, fetched, files = dataset or Path(temporary), {}, {}
        if settings is not None:
            fetched = fetch_sources(settings, folder)
        if outputs.fix is not None:
            files = repairable(fetched)
        outputs.require_writable(fetched, files)  # before minutes of reading
        if settings is not None:
            # Half a download may be examined, but not repaired: the copy would pass for the dataset.
            max_lost = MaxLost() if outputs.fix is None else settings.max_lost
            recorders = {split: file.record for split, file in files.items()}
            index_sources(
                fetched,
                folder,
                max_lost=max_lost,
                recorders=recorders,
                images=settings.images,
                max_pixels=settings.max_pixels,
            )
        examination = examine_dataset(folder, preprocess)
        print_report(examination.report, examination.findings, console())
        outputs.write(examination, files, _title(dataset, fetched))
    raise typer.Exit(ExitCode.FINDINGS if fails(examination, outputs.fail_on) else ExitCode.OK)


def _what_to_examine(
    dataset: Path | None, sources: SourceOptions, params: Path | None, *, fix: bool
) -> tuple[Path | None, PrepareConfig | None]:
    """Return the folder of a prepared dataset, or the settings that name annotations; the other one is None.

    Raises:
        UserError: both or neither is named, the dataset is not one, or it is to be repaired.
    """
    from codetr.data.ingest.config import PrepareConfig

    if dataset is not None and not dataset.exists():
        raise UserError("there is no such file or folder", where=str(dataset))
    if dataset is not None and (dataset.is_file() or _has_xml(dataset)):
        if sources.train:
            hint = "Name every source with --train."
            raise UserError("is given in addition to --train", where=str(dataset), hint=hint)
        sources, dataset = replace(sources, train=[str(dataset)]), None
    splits = sources.by_split()
    if (dataset is None) == (not splits and params is None):
        hint = "Name a dataset folder, or annotations: `codetr doctor train.json --images images`."
        problem = "both a dataset and annotation files are named" if splits else "nothing to examine is named"
        raise UserError(problem, hint=hint)
    if dataset is None:
        if splits and "train" not in splits and params is None:
            hint = "Name it with --train: a single file can be given as --train whatever it is used for."
            raise UserError("no annotations to train on are named", hint=hint)
        return None, step_settings(PrepareConfig, "prepare", params, None, splits)
    if fix:
        hint = "A dataset does not contain its annotation files: name them with --train, --val and --images."
        raise UserError("needs annotation files", where="--fix", hint=hint)
    _require_dataset(dataset)
    return dataset, None


def _has_xml(folder: Path) -> bool:
    """Return whether a folder has the annotations of Pascal VOC: a folder Annotations, or XML files."""
    from codetr.data.formats.voc_files import ANNOTATIONS
    from codetr.data.ingest.summary import REPORT

    if (folder / REPORT).is_file():
        return False
    return (folder / ANNOTATIONS).is_dir() or any(next(folder.glob(pattern), None) for pattern in ("*.xml", "*/*.xml"))


def _require_dataset(folder: Path) -> None:
    """Raise `UserError`, with what to name instead, unless `prepare` wrote the folder."""
    from codetr.data.ingest.summary import REPORT

    if (folder / REPORT).is_file():
        return
    files = sorted(path for pattern in ("*.yaml", "*.yml", "*.json", "*/*.json") for path in folder.glob(pattern))
    hint = "A dataset folder is made by `codetr prepare`."
    if files:
        others = f" (there are {listed([str(path) for path in files], 5)})" if len(files) > 1 else ""
        images = " --images FOLDER" if files[0].suffix == ".json" else ""
        hint = f"To examine annotations, name the file: `codetr doctor {files[0]}{images}`{others}."
    raise UserError(f"is not a prepared dataset: it has no {REPORT}", where=str(folder), hint=hint)


def _title(dataset: Path | None, sources: Mapping[str, Sequence[Source]]) -> str:
    if dataset is not None:
        return dataset.resolve().name
    return ", ".join(dict.fromkeys(source.annotations.name for several in sources.values() for source in several))


def _print_changes(changes: Sequence[Changes], output: Path) -> None:
    from codetr.doctor.changes import CHANGES

    rows = [
        (change.split, finding, action, count)
        for change in changes
        for (finding, action), count in sorted(change.counts.items())
    ]
    if rows:
        print_table(("split", "finding", "entries", "changes"), rows, title="\nRepaired")
    for path in (*(f"{change.split}.json" for change in changes), CHANGES):
        console().print(plain(output / path))
