"""The argument of commands that look at data: a prepared dataset, or annotations that are read as `prepare` does."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from codetr.cli.source_options import SourceOptions
from codetr.core.errors import UserError, listed
from codetr.core.manifest import NAME as MANIFEST
from codetr.core.system.temporaries import scratch_directory
from codetr.steps.settings import step_settings

if TYPE_CHECKING:
    from codetr.data.formats.open_source import Source
    from codetr.data.ingest.config import PrepareConfig

DatasetArgument = Annotated[
    Path | None,
    typer.Argument(
        metavar="DATASET|FILE",
        help="A dataset written by [bold]codetr prepare[/]; or annotations: a COCO-format file, with --images, "
        "a Pascal VOC folder, or a YOLO data.yaml.",
    ),
]


def dataset_or_sources(
    dataset: Path | None,
    sources: SourceOptions,
    params: Path | None,
    *,
    command: str,
    params_names_recipe: bool = False,
) -> tuple[Path | None, PrepareConfig | None]:
    """Return the folder of a prepared dataset, or the settings that name annotations; the other one is None.

    Args:
        dataset: value of `DatasetArgument`.
        sources: options that name annotations.
        params: a params file, whose section `prepare` may name them.
        command: name of the command, for hints.
        params_names_recipe: the params file is given for a recipe, so it may be combined with a dataset.

    Raises:
        UserError: both or neither is named, or the dataset is not one.
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
    hint = f"Name a dataset folder, or annotations: `codetr {command} train.json --images images`."
    if dataset is None and not splits and params is None:
        raise UserError("no dataset is named", hint=hint)
    if dataset is not None and (splits or (params is not None and not params_names_recipe)):
        others = "annotation files" if splits else "a params file, which names annotations,"
        raise UserError(f"both a dataset and {others} are named", hint=hint)
    if dataset is None:
        if splits and "train" not in splits and params is None:
            hint = "Name it with --train: a single file can be given as --train whatever it is used for."
            raise UserError("no annotations to train on are named", hint=hint)
        return None, step_settings(PrepareConfig, "prepare", params, None, splits)
    _require_dataset(dataset, command)
    return dataset, None


@contextmanager
def fetched_dataset(
    dataset: Path | None, settings: PrepareConfig | None
) -> Iterator[tuple[Path, dict[str, tuple[Source, ...]]]]:
    """Yield the folder of a dataset and the sources to index into it, for the result of `dataset_or_sources`.

    A prepared dataset has no sources here. That of annotations is a temporary folder.

    Raises:
        UserError: see `fetch_sources`.
    """
    if settings is None:
        assert dataset is not None
        yield dataset, {}
        return
    from codetr.data.ingest.build import fetch_sources

    with scratch_directory("codetr-dataset") as folder:
        yield folder, fetch_sources(settings, folder)


def _has_xml(folder: Path) -> bool:
    """Return whether a folder has the annotations of Pascal VOC: a folder Annotations, or XML files."""
    from codetr.data.formats.voc_files import ANNOTATIONS
    from codetr.data.ingest.summary import REPORT

    if (folder / REPORT).is_file():
        return False
    return (folder / ANNOTATIONS).is_dir() or any(next(folder.glob(pattern), None) for pattern in ("*.xml", "*/*.xml"))


def _require_dataset(folder: Path, command: str) -> None:
    """Raise `UserError`, with what to name instead, unless `prepare` wrote the folder."""
    from codetr.data.ingest.summary import REPORT

    if (folder / REPORT).is_file():
        return
    patterns = ("*.yaml", "*.yml", "*.json", "*/*.json")
    files = sorted(path for pattern in patterns for path in folder.glob(pattern) if path.name != MANIFEST)
    hint = "A dataset folder is made by `codetr prepare`."
    if files:
        others = f" (there are {listed([str(path) for path in files], 5)})" if len(files) > 1 else ""
        images = " --images FOLDER" if files[0].suffix == ".json" else ""
        hint = f"For annotations, name the file: `codetr {command} {files[0]}{images}`{others}."
    raise UserError(f"is not a prepared dataset: it has no {REPORT}", where=str(folder), hint=hint)
