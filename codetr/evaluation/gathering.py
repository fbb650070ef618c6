"""Predictions on their way from many processes to one: in files, from which an interrupted evaluation goes on.

Every process leaves what it found in a folder that all of them see, some batches a file, and never holds more than one
file's worth. The files say which batches they hold, not who made them: the run that goes on may have another number
of processes.
"""

from __future__ import annotations

import shutil
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codetr.errors import UserError
from codetr.evaluation.arrays import Predictions
from codetr.evaluation.packed import RunLengths
from codetr.files import atomic_file, read_json, write_json
from codetr.inference.coco import Numbers

PART_SECONDS = 30.0
"""At most about this much work is lost when a process is stopped."""

_RUN = "run.json"
_FIELDS = ("image", "label", "boxes_xywh", "score")
_MASK_FIELDS = ("mask_score", "text", "starts", "stops", "sizes")


def begin(folder: Path, key: str | None) -> set[int]:
    """Make the folder ready; one process does it, before the others write.

    Args:
        folder: where the files go. What a run with another key left there is removed.
        key: what the predictions depend on, as a digest; None if nothing is to be taken from an earlier run.

    Returns:
        The batches that an earlier run with this key has done.

    Raises:
        UserError: a file of the earlier run is damaged.
    """
    if key is not None and (folder / _RUN).is_file() and read_json(folder / _RUN) == {"key": key}:
        return {int(batch) for part in _parts(folder) for batch in part["batches"]}
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    write_json(folder / _RUN, {"key": key})
    return set()


class Writer:
    """Writes what one process finds.

    Args:
        folder: see `begin`.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._batches: list[int] = []
        self._images: list[tuple[int, Numbers]] = []
        self._since = time.monotonic()

    def add(self, batch: int, found: list[tuple[int, Numbers]]) -> None:
        """Add a batch: position of each image among ascending image ids, and its detections."""
        self._batches.append(batch)
        self._images += found
        if time.monotonic() - self._since >= PART_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Write what has been added since the last time."""
        if self._batches:
            arrays = {"batches": np.array(self._batches, np.int64)} | _arrays(self._images)
            with atomic_file(self._folder / f"batch-{self._batches[0]:08d}.npz") as path, path.open("wb") as stream:
                np.savez(stream, allow_pickle=False, **arrays)
        self._batches, self._images, self._since = [], [], time.monotonic()


def gather(folder: Path, batches: int) -> Predictions:
    """All predictions, by image and best first within an image.

    Args:
        folder: see `begin`.
        batches: how many there must be.

    Raises:
        UserError: a batch is in no file or in more than one: the folder is not shared by all processes, or written by
            another run at the same time. Or a file is damaged.
    """
    parts = list(_parts(folder))
    done = np.sort(np.concatenate([np.zeros(0, np.int64), *(part["batches"] for part in parts)]))
    if not np.array_equal(done, np.arange(batches)):
        raise UserError(
            f"holds predictions for {len(np.unique(done))} batches ({len(done)} in all files), expected {batches}",
            where=str(folder),
            hint="All processes must see this folder, and only one run may use it at a time.",
        )
    image = _joined(parts, "image", np.zeros(0, np.int64))
    order = np.argsort(image, kind="stable")
    masked = any("text" in part for part in parts)
    return Predictions(
        image=image[order],
        label=_joined(parts, "label", np.zeros(0, np.int64))[order],
        boxes_xywh=_joined(parts, "boxes_xywh", np.zeros((0, 4)))[order],
        score=_joined(parts, "score", np.zeros(0))[order],
        mask_score=_joined(parts, "mask_score", np.zeros(0))[order] if masked else None,
        outlines=RunLengths.joined(
            RunLengths(part["text"], part["starts"], part["stops"], part["sizes"]) for part in parts if "text" in part
        )[order]
        if masked
        else None,
    )


def _arrays(images: list[tuple[int, Numbers]]) -> dict[str, NDArray[Any]]:
    """Detections of several images, one after the other."""
    empty = Numbers(np.zeros(0, np.int64), np.zeros((0, 4)), np.zeros(0))
    several = [empty, *(numbers for _, numbers in images)]
    arrays: dict[str, NDArray[Any]] = {
        "image": np.repeat([0, *(place for place, _ in images)], [len(numbers.scores) for numbers in several]),
        "label": np.concatenate([numbers.labels for numbers in several]),
        "boxes_xywh": np.concatenate([numbers.boxes_xywh for numbers in several]),
        "score": np.concatenate([numbers.scores for numbers in several]),
    }
    masked = [numbers for numbers in several if numbers.masks is not None and numbers.mask_scores is not None]
    if masked:
        codes = RunLengths.of([code for numbers in masked for code in numbers.masks or ()])
        scores = np.concatenate([numbers.mask_scores for numbers in masked if numbers.mask_scores is not None])
        values = (scores, codes.text, codes.starts, codes.stops, codes.sizes)
        arrays |= dict(zip(_MASK_FIELDS, values, strict=True))
    return arrays


def _joined(parts: list[dict[str, NDArray[Any]]], name: str, empty: NDArray[Any]) -> NDArray[Any]:
    return np.concatenate([empty, *(part[name] for part in parts if name in part)])


def _parts(folder: Path) -> Iterator[dict[str, NDArray[Any]]]:
    """The content of every file."""
    for path in sorted(folder.glob("batch-*.npz")):
        try:
            with np.load(path, allow_pickle=False) as file:
                part = {name: file[name] for name in ("batches", *_FIELDS)}
                if "text" in file:
                    part |= {name: file[name] for name in _MASK_FIELDS}
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise UserError(f"is damaged: {error}", where=str(path), hint="Remove it and start again.") from None
        yield part
