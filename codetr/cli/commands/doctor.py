"""`codetr doctor`: examine a dataset, write reports and repaired annotation files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from codetr.cli.dataset_argument import DatasetArgument, dataset_or_sources, fetched_dataset
from codetr.cli.option_groups import OptionGroup, expand_option_groups
from codetr.cli.output import console, plain, print_table
from codetr.cli.settings_options import ParamsOption
from codetr.cli.source_options import SourceOptions
from codetr.core.errors import UserError
from codetr.core.exit_codes import ExitCode
from codetr.core.files import require_writable_file
from codetr.steps.settings import read_recipe

if TYPE_CHECKING:
    from codetr.data.formats.open_source import Source
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
            require_writable_file(report)
            if report.resolve() in examined:
                raise UserError("is examined, and the report would replace it", where=str(report))

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
    dataset: DatasetArgument = None,
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
    from codetr.data.ingest.build import index_sources
    from codetr.data.ingest.max_lost import MaxLost
    from codetr.doctor.examination import examine_dataset, fails
    from codetr.doctor.repair import repairable
    from codetr.doctor.terminal import print_report

    dataset, settings = dataset_or_sources(dataset, sources, params, command="doctor")
    if outputs.fix is not None and settings is None:
        hint = "A dataset does not contain its annotation files: name them with --train, --val and --images."
        raise UserError("needs annotation files", where="--fix", hint=hint)
    preprocess = read_recipe(recipe).preprocess if recipe else PreprocessConfig()
    with fetched_dataset(dataset, settings) as (folder, fetched):
        files = {} if outputs.fix is None else repairable(fetched)
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
