"""Predictions on their way from many processes to one: in files, from which an interrupted evaluation goes on.

Every process leaves what it found in a folder that all of them see, some batches a file, and never holds more than one
file's worth. The files say which batches they hold, not who made them: the run that goes on may have another number
of processes.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codetr.core.errors import UserError, listed
from codetr.core.files import atomic_file, read_json, write_json
from codetr.core.npy import Layout, read_archive
from codetr.evaluation.tables.predictions import Predictions
from codetr.evaluation.tables.rle import RunLengths
from codetr.inference.coco_results import ExportedDetections

PART_SECONDS = 30.0
"""At most about this much work is lost when a process is stopped."""

PART_IMAGES = 256
"""A process holds no more, and no file gets too large to be read again: 300 masks of a large image are a megabyte."""

_RUN = "run.json"
_PARTS = "batch-*.npz"
_BATCHES = {"batches": Layout(np.int64)}
_FIELDS = {
    "image": Layout(np.int64),
    "label": Layout(np.int64),
    "boxes_xywh": Layout(np.float64, axes=2),
    "score": Layout(np.float64),
}
_MASK_FIELDS = {
    "mask_score": Layout(np.float64),
    "text": Layout(np.uint8),
    "starts": Layout(np.int64),
    "stops": Layout(np.int64),
    "sizes": Layout(np.int64, axes=2),
}
_SHARED = "All processes must see this folder, and only one run may use it at a time."
_AGAIN = "Start the same command again: what is missing is computed anew, the rest is kept."


def begin(folder: Path, key: str | None, batches: int, say: Callable[[str], None]) -> set[int]:
    """Make the folder ready; one process does it, before the others write.

    Args:
        folder: where the files go. What a run with another key left there is removed, and so is what cannot be used.
        key: what the predictions depend on, as a digest; None if nothing is to be taken from an earlier run.
        batches: how many there are.
        say: takes lines for the user, about what has to be computed again.

    Returns:
        The batches that an earlier run with this key has done.

    Raises:
        UserError: the folder cannot be made or emptied.
    """
    try:
        if key is not None and _key(folder) == key:
            return _sweep(folder, batches, say)
        if key is not None and any(folder.glob(_PARTS)):
            say("an earlier run here was of other weights, data, settings or code: all images are detected again")
        if folder.exists():
            _remove(folder)
        folder.mkdir(parents=True)
        write_json(folder / _RUN, {"key": key})
    except OSError as error:
        raise UserError(f"cannot be made or emptied: {error}", where=str(folder)) from None
    return set()


def _key(folder: Path) -> Any:
    """Of the run that left the folder; None if it says none."""
    try:
        run = read_json(folder / _RUN)
    except UserError:
        return None
    return run.get("key") if isinstance(run, dict) else None


def _sweep(folder: Path, batches: int, say: Callable[[str], None]) -> set[int]:
    """The batches that are done; files that cannot be used, or repeat what another one has, are removed."""
    for unfinished in folder.glob(".batch-*"):
        _remove(unfinished)
    done: set[int] = set()
    for path in sorted(folder.glob(_PARTS)):
        try:
            own = _part(path)["batches"].tolist()
            new = set(own) - done
            if not own or len(new) < len(own) or not new <= set(range(batches)) or path.name != _name(own[0]):
                raise UserError(f"holds batches {listed([str(k) for k in own], 5)}, which it cannot", where=str(path))
        except UserError as error:
            say(f"{path}: {error.problem}; it is removed, and what was in it is detected again")
            _remove(path)
        else:
            done |= new
    return done


def _name(batch: int) -> str:
    """Of the file whose first batch this is."""
    return f"batch-{batch:08d}.npz"


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


class Writer:
    """Writes what one process finds.

    Args:
        folder: see `begin`.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._batches: list[int] = []
        self._images: list[tuple[int, ExportedDetections]] = []
        self._since = time.monotonic()

    def add(self, batch: int, found: list[tuple[int, ExportedDetections]]) -> None:
        """Add a batch: position of each image among ascending image ids, and its detections."""
        self._batches.append(batch)
        self._images += found
        if time.monotonic() - self._since >= PART_SECONDS or len(self._images) >= PART_IMAGES:
            self.flush()

    def flush(self) -> None:
        """Write what has been added since the last time.

        Raises:
            UserError: the folder is not there, or cannot be written to.
        """
        if self._batches:
            # Made again here, it would stay for ever: the process that removes it has done so.
            if not self._folder.is_dir():
                raise UserError("is not there, or not any more", where=str(self._folder), hint=_SHARED)
            arrays = {"batches": np.array(self._batches, np.int64)} | _arrays(self._images)
            try:
                with atomic_file(self._folder / _name(self._batches[0])) as path, path.open("wb") as stream:
                    np.savez(stream, allow_pickle=False, **arrays)
            except OSError as error:
                raise UserError(f"cannot be written to: {error.strerror or error}", where=str(self._folder)) from None
        self._batches, self._images, self._since = [], [], time.monotonic()


def gather(folder: Path, batches: int) -> Predictions:
    """All predictions, by image and best first within an image.

    Args:
        folder: see `begin`.
        batches: how many there must be.

    Raises:
        UserError: a batch is in no file or in more than one: the folder is not shared by all processes, or written by
            another run at the same time. Or a file was damaged meanwhile, which `begin` sees to in the next run.
    """
    parts = [_part(path) for path in sorted(folder.glob(_PARTS))]
    if len({"text" in part for part in parts if len(part["score"])}) > 1:
        raise UserError("holds predictions with masks and others without", where=str(folder), hint=_SHARED)
    done = np.sort(np.concatenate([np.zeros(0, np.int64), *(part["batches"] for part in parts)]))
    if not np.array_equal(done, np.arange(batches)):
        raise UserError(
            f"holds predictions for {len(np.unique(done))} batches ({len(done)} in all files), expected {batches}",
            where=str(folder),
            hint=_SHARED,
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
        segmentations=RunLengths.joined(
            RunLengths(part["text"], part["starts"], part["stops"], part["sizes"]) for part in parts if "text" in part
        )[order]
        if masked
        else None,
    )


def _arrays(images: list[tuple[int, ExportedDetections]]) -> dict[str, NDArray[Any]]:
    """Detections of several images, one after the other."""
    empty = ExportedDetections(np.zeros(0, np.int64), np.zeros((0, 4)), np.zeros(0))
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


def _part(path: Path) -> dict[str, NDArray[Any]]:
    """The content of a file.

    Raises:
        UserError: it is damaged.
    """
    part = read_archive(path, _BATCHES | _FIELDS, optional=_MASK_FIELDS, hint=_AGAIN)
    if not _fit(part):
        raise UserError("the arrays in it do not fit together", where=str(path), hint=_AGAIN)
    return part


def _fit(part: dict[str, NDArray[Any]]) -> bool:
    """Whether all arrays are of the same detections, and masks within their text."""
    count = len(part["score"])
    lengths = {len(array) for name, array in part.items() if name not in ("batches", "text")}
    if lengths != {count} or part["boxes_xywh"].shape != (count, 4):
        return False
    if "text" not in part:
        return True
    starts, stops = part["starts"], part["stops"]
    within = (starts >= 0) & (starts <= stops) & (stops <= len(part["text"]))
    return part["sizes"].shape == (count, 2) and bool(within.all())
