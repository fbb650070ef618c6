"""The command doctor: which dataset to examine, which reports to write, and with which code to end."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from codetr.cli.output import console, plain, print_table
from codetr.cli.settings_options import ParamsOption
from codetr.cli.source_options import (
    ImagesOption,
    RepoOption,
    RevOption,
    TestImagesOption,
    TestOption,
    TrainImagesOption,
    TrainOption,
    ValImagesOption,
    ValOption,
    split_sources,
)
from codetr.core.errors import UserError
from codetr.core.exit_codes import ExitCode
from codetr.steps.settings import read_recipe, step_settings

if TYPE_CHECKING:
    from codetr.data.formats.open_source import Source
    from codetr.data.ingest.config import PrepareConfig
    from codetr.doctor.changes import Changes

_REPORTS = "Reports"


def doctor(
    *,
    dataset: Annotated[
        Path | None,
        typer.Argument(
            metavar="DATASET|FILE",
            help="A dataset, what [bold]codetr prepare[/] wrote; or annotations: a COCO-format file, with --images, "
            "a Pascal VOC folder, or a YOLO data.yaml.",
        ),
    ] = None,
    train: TrainOption = None,
    val: ValOption = None,
    test: TestOption = None,
    images: ImagesOption = None,
    train_images: TrainImagesOption = None,
    val_images: ValImagesOption = None,
    test_images: TestImagesOption = None,
    repo: RepoOption = None,
    rev: RevOption = None,
    params: ParamsOption = None,
    recipe: Annotated[
        str | None,
        typer.Option(
            "--recipe",
            metavar="NAME|FILE.yaml",
            help="Judge small objects at this recipe's resolution; without it the short side is 800 pixels.",
        ),
    ] = None,
    html: Annotated[
        Path | None,
        typer.Option(
            "--html", metavar="FILE", help="Write a page with pictures of what was found.", rich_help_panel=_REPORTS
        ),
    ] = None,
    json_file: Annotated[
        Path | None,
        typer.Option("--json", metavar="FILE", help="Write everything for a program.", rich_help_panel=_REPORTS),
    ] = None,
    fix: Annotated[
        Path | None,
        typer.Option(
            "--fix",
            metavar="FOLDER",
            help="Write repaired COCO files, and changes.jsonl with every change. Images stay where they are.",
            rich_help_panel=_REPORTS,
        ),
    ] = None,
    fail_on: Annotated[
        str,
        typer.Option(
            "--fail-on",
            metavar="error|warning|never",
            help="Exit with code 1 when there is a finding that is at least so grave.",
            rich_help_panel=_REPORTS,
        ),
    ] = "error",
) -> None:
    """What a dataset consists of, what is wrong with it and why, and what will hurt training.

        [cyan]codetr doctor outputs/dataset --html doctor.html[/]

        [cyan]codetr doctor train.json --images images[/]

        [cyan]codetr doctor --train train.json --val val.json --images images --fix repaired[/]

        [cyan]codetr doctor --train VOC2012[/]

        [cyan]codetr doctor coco8/data.yaml --html doctor.html[/]

        [cyan]codetr doctor outputs/dataset --fail-on warning --json doctor.json[/]

    Errors: something is lost or measured wrongly. Warnings: it will probably hurt. Notes: worth knowing. A continuous
    integration job reads the exit code: 0, or 1 for findings, or 2 when there is nothing that can be examined.
    """
    from codetr.core.files import write_json
    from codetr.data.config import PreprocessConfig
    from codetr.data.formats.voc import ANNOTATIONS
    from codetr.data.ingest.build import fetch_sources, index_sources
    from codetr.doctor.examination import LEVELS, examine_dataset, fails
    from codetr.doctor.repair import repair, repairable, require_copy_output
    from codetr.doctor.terminal import print_examination

    if fail_on not in LEVELS:
        raise UserError(f"is '{fail_on}'", where="--fail-on", hint=f"It is one of {', '.join(LEVELS)}.")
    if dataset is not None and not dataset.exists():
        raise UserError("there is no such file or folder", where=str(dataset))
    if dataset is not None and (dataset.is_file() or (dataset / ANNOTATIONS).is_dir()):
        if train:
            raise UserError("is given besides --train", where=str(dataset), hint="Name every source with --train.")
        train, dataset = [str(dataset)], None
    annotations = {"train": (train, train_images), "val": (val, val_images), "test": (test, test_images)}
    given = split_sources(annotations, images=images, repo=repo, rev=rev)
    if (dataset is None) == (not given and params is None):
        hint = "Name a dataset folder, or annotations: `codetr doctor train.json --images images`."
        raise UserError("a dataset and annotation files" if given else "nothing to examine is named", hint=hint)
    if dataset is not None and fix is not None:
        hint = "A dataset keeps no annotation files: name them with --train, --val and --images."
        raise UserError("needs annotation files", where="--fix", hint=hint)
    if dataset is not None:
        _require_dataset(dataset)
    preprocess = read_recipe(recipe).preprocess if recipe else PreprocessConfig()
    with tempfile.TemporaryDirectory(prefix="codetr-doctor-") as name:
        folder = dataset or Path(name)
        settings = None if dataset is not None else _settings(given, params)
        sources = {} if settings is None else fetch_sources(settings, folder)
        # A refusal must not come after minutes of reading.
        files = {} if fix is None else repairable(sources)
        if fix is not None:
            require_copy_output(fix, files)
        _require_writable([path for path in (json_file, html) if path is not None], sources)
        if settings is not None:
            # A look at half a download does no harm, but nobody should take what is left of it for the dataset.
            index_sources(sources, folder, max_lost_images=1.0 if fix is None else settings.max_lost_images)
        examination = examine_dataset(folder, preprocess)
        print_examination(examination, console())
        if json_file is not None:
            write_json(json_file, examination.to_json())
            console().print(plain(json_file))
        if html is not None:
            from codetr.doctor.page import write_page  # it draws, and takes a while to load

            write_page(examination, html, title=_title(dataset, sources))
            console().print(f"open {plain(html.resolve())}")
        if fix is not None:
            _show_changes(repair(files, folder, fix), fix)
    raise typer.Exit(ExitCode.FINDINGS if fails(examination, fail_on) else ExitCode.OK)


def _require_dataset(folder: Path) -> None:
    """Raise `UserError`, with what to name instead, unless `prepare` wrote the folder."""
    from codetr.core.errors import listed
    from codetr.data.ingest.summary import REPORT

    if (folder / REPORT).is_file():
        return
    files = sorted(path for pattern in ("*.yaml", "*.yml", "*.json", "*/*.json") for path in folder.glob(pattern))
    hint = "A dataset folder is made by `codetr prepare`."
    if files:
        others = f" (there are {listed([str(path) for path in files], 5)})" if len(files) > 1 else ""
        images = " --images FOLDER" if files[0].suffix == ".json" else ""
        hint = f"Of annotations, name the file: `codetr doctor {files[0]}{images}`{others}."
    raise UserError(f"is no prepared dataset: it holds no {REPORT}", where=str(folder), hint=hint)


def _settings(given: dict[str, list[dict[str, Any]]], params: Path | None) -> PrepareConfig:
    from codetr.data.ingest.config import PrepareConfig

    if given and "train" not in given and params is None:
        hint = "Name it with --train: a single file may be called so whatever it is for."
        raise UserError("no annotations to train on are named", hint=hint)
    return step_settings(PrepareConfig, "prepare", params, None, given)


def _title(dataset: Path | None, sources: dict[str, tuple[Source, ...]]) -> str:
    if dataset is not None:
        return dataset.resolve().name
    return ", ".join(dict.fromkeys(source.annotations.name for several in sources.values() for source in several))


def _require_writable(reports: Sequence[Path], sources: Mapping[str, Sequence[Source]]) -> None:
    """Raise `UserError` if a report would take the place of what is examined, or of a folder."""
    examined = [source.annotations.resolve() for several in sources.values() for source in several]
    for report in reports:
        if report.is_dir():
            raise UserError("is a folder, expected a file to write to", where=str(report))
        if report.resolve() in examined:
            raise UserError("is examined, and the report would take its place", where=str(report))


def _show_changes(changes: list[Changes], output: Path) -> None:
    rows = [
        (change.split, finding, action, count)
        for change in changes
        for (finding, action), count in sorted(change.counts.items())
    ]
    if rows:
        print_table(("split", "finding", "entries", "changes"), rows, title="\nRepaired")
    for change in changes:
        console().print(plain(output / f"{change.split}.json"))
    from codetr.doctor.changes import CHANGES

    console().print(plain(output / CHANGES))
