"""Exchange predictions between processes through files, from which an interrupted evaluation resumes.

Every process writes its detections into a folder that all of them see, several batches per file, and never holds more
than one file's worth in memory. The files say which batches they hold, not which process wrote them: the resuming run
may have another number of processes.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codetr.core.array_files import ArraySpec, read_arrays, write_arrays
from codetr.core.errors import UserError, listed
from codetr.core.files import read_json, write_json
from codetr.core.system.temporaries import remove_all_leftovers
from codetr.evaluation.tables.predictions import PredictionTable
from codetr.evaluation.tables.rle import RunLengths
from codetr.inference.coco_results import ExportedDetections

PART_SECONDS = 30.0
"""At most about this much work is lost when a process is stopped."""

PART_IMAGES = 256
"""Limits the memory of a process and the size of a file: 300 masks of a large image are a megabyte."""

PART_FILES = "batch-*.safetensors"

_RUN = "run.json"
_BATCHES = {"batches": ArraySpec(np.int64)}
_FIELDS = {
    "image": ArraySpec(np.int64),
    "label": ArraySpec(np.int64),
    "boxes_xywh": ArraySpec(np.float64, ndim=2),
    "score": ArraySpec(np.float64),
}
_MASK_FIELDS = {
    "mask_score": ArraySpec(np.float64),
    "text": ArraySpec(np.uint8),
    "starts": ArraySpec(np.int64),
    "stops": ArraySpec(np.int64),
    "sizes": ArraySpec(np.int64, ndim=2),
}
_SHARED = "All processes must see this folder, and only one run may use it at a time."
_AGAIN = "Run the same command again: it computes what is missing and keeps the rest."


def begin(folder: Path, key: str | None, batches: int, say: Callable[[str], None]) -> set[int]:
    """Prepare the folder; one process calls it, before the others write.

    Args:
        folder: where the files go. Files of a run with another key are removed, and so are invalid files.
        key: digest of everything the predictions depend on; None to keep nothing of an earlier run.
        batches: number of batches.
        say: prints lines for the user, about what has to be computed again.

    Returns:
        The batches that an earlier run with this key has finished.

    Raises:
        OSError: the folder cannot be created or emptied.
    """
    if key is not None and _key(folder) == key:
        return _finished(folder, batches, say)
    if key is not None and any(folder.glob(PART_FILES)):
        say("weights, data, settings or code differ from those of the interrupted run: starting from the beginning")
    if folder.exists():
        _remove(folder)
    folder.mkdir(parents=True)
    write_json(folder / _RUN, {"key": key})
    return set()


def _key(folder: Path) -> Any:
    """Return the key of the run that wrote the folder, None if there is none."""
    try:
        run = read_json(folder / _RUN)
    except UserError:
        return None
    return run.get("key") if isinstance(run, dict) else None


def _finished(folder: Path, batches: int, say: Callable[[str], None]) -> set[int]:
    """Return the finished batches; remove files that are invalid or repeat the batches of another."""
    remove_all_leftovers(folder, sole_writer=True)
    done: set[int] = set()
    for path in sorted(folder.glob(PART_FILES)):
        try:
            held = _part(path)["batches"].tolist()
            new = set(held) - done
            if not held or len(new) < len(held) or not new <= set(range(batches)) or path.name != _name(held[0]):
                problem = f"holds batches {listed([str(k) for k in held], 5)}, which do not fit its name or other files"
                raise UserError(problem, where=str(path))
        except UserError as error:
            say(f"{path}: {error.problem}; the file is removed and its images are detected again")
            _remove(path)
        else:
            done |= new
    return done


def _name(batch: int) -> str:
    """Return the name of the file whose first batch this is."""
    return f"batch-{batch:08d}.safetensors"


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


class PartWriter:
    """Writes the detections of one process.

    Args:
        folder: see `begin`.
        seconds: write a file at least this often.
        images: write a file once it has this many images.
    """

    def __init__(self, folder: Path, *, seconds: float = PART_SECONDS, images: int = PART_IMAGES) -> None:
        self._folder, self._seconds, self._max_images = folder, seconds, images
        self._batches: list[int] = []
        self._images: list[tuple[int, ExportedDetections]] = []
        self._since = time.monotonic()

    def add(self, batch: int, detections: list[tuple[int, ExportedDetections]]) -> None:
        """Add a batch: the position of each image among ascending image ids, and its detections."""
        self._batches.append(batch)
        self._images += detections
        if time.monotonic() - self._since >= self._seconds or len(self._images) >= self._max_images:
            self.flush()

    def flush(self) -> None:
        """Write what was added since the last time.

        Raises:
            UserError: the folder does not exist.
            OSError: it cannot be written to.
        """
        if self._batches:
            # Created again here, it would remain: the process that removes it has already done so.
            if not self._folder.is_dir():
                raise UserError("the folder does not exist any more", where=str(self._folder), hint=_SHARED)
            arrays = {"batches": np.array(self._batches, np.int64)} | _arrays(self._images)
            write_arrays(self._folder / _name(self._batches[0]), arrays)
        self._batches, self._images, self._since = [], [], time.monotonic()


def gather(folder: Path, batches: int) -> PredictionTable:
    """Read all predictions, by image and best first within an image.

    Args:
        folder: see `begin`.
        batches: number of batches.

    Raises:
        UserError: a batch is in no file or in more than one: not all processes share the folder, or another run writes
            to it at the same time. Or a file was damaged meanwhile, which the next run repairs.
    """
    parts = [_part(path) for path in sorted(folder.glob(PART_FILES))]
    if len({"text" in part for part in parts if len(part["score"])}) > 1:
        raise UserError("holds predictions with masks and others without", where=str(folder), hint=_SHARED)
    done = np.sort(np.concatenate([np.zeros(0, np.int64), *(part["batches"] for part in parts)]))
    if not np.array_equal(done, np.arange(batches)):
        raise UserError(
            f"holds predictions for {len(np.unique(done))} batches ({len(done)} in all files), expected {batches}",
            where=str(folder),
            hint=_SHARED,
        )
    image = _concatenated(parts, "image", np.zeros(0, np.int64))
    order = np.argsort(image, kind="stable")
    masks = None
    if any("text" in part for part in parts):
        masks = RunLengths.concatenated(
            RunLengths(part["text"], part["starts"], part["stops"], part["sizes"]) for part in parts if "text" in part
        )[order]
    return PredictionTable(
        image=image[order],
        label=_concatenated(parts, "label", np.zeros(0, np.int64))[order],
        boxes_xywh=_concatenated(parts, "boxes_xywh", np.zeros((0, 4)))[order],
        score=_concatenated(parts, "score", np.zeros(0))[order],
        mask_score=None if masks is None else _concatenated(parts, "mask_score", np.zeros(0))[order],
        segmentations=masks,
    )


def _arrays(images: list[tuple[int, ExportedDetections]]) -> dict[str, NDArray[Any]]:
    """Return the detections of several images, one after the other."""
    empty = ExportedDetections(np.zeros(0, np.int64), np.zeros((0, 4)), np.zeros(0))
    several = [empty, *(detections for _, detections in images)]
    counts = [len(detections.scores) for detections in several]
    arrays: dict[str, NDArray[Any]] = {
        "image": np.repeat(np.array([0, *(position for position, _ in images)], np.int64), counts),
        "label": np.concatenate([detections.labels for detections in several]),
        "boxes_xywh": np.concatenate([detections.boxes_xywh for detections in several]),
        "score": np.concatenate([detections.scores for detections in several]),
    }
    masked = [detections for detections in several if detections.masks is not None]
    if masked:
        codes = RunLengths.of([code for detections in masked for code in detections.masks or ()])
        scores = np.concatenate([detections.mask_scores for detections in masked if detections.mask_scores is not None])
        values = (scores, codes.text, codes.starts, codes.stops, codes.sizes)
        arrays |= dict(zip(_MASK_FIELDS, values, strict=True))
    return arrays


def _concatenated(parts: list[dict[str, NDArray[Any]]], name: str, empty: NDArray[Any]) -> NDArray[Any]:
    return np.concatenate([empty, *(part[name] for part in parts if name in part)])


def _part(path: Path) -> dict[str, NDArray[Any]]:
    """Read a file.

    Raises:
        UserError: it is damaged.
    """
    part = read_arrays(path, _BATCHES | _FIELDS, optional=_MASK_FIELDS, hint=_AGAIN)
    if not _is_consistent(part):
        raise UserError("its arrays do not fit together", where=str(path), hint=_AGAIN)
    return part


def _is_consistent(part: dict[str, NDArray[Any]]) -> bool:
    """Return whether all arrays have one entry per detection, and masks lie within the text."""
    count = len(part["score"])
    lengths = {len(array) for name, array in part.items() if name not in ("batches", "text")}
    if lengths != {count} or part["boxes_xywh"].shape != (count, 4):
        return False
    if "text" not in part:
        return True
    starts, stops = part["starts"], part["stops"]
    within = (starts >= 0) & (starts <= stops) & (stops <= len(part["text"]))
    return part["sizes"].shape == (count, 2) and bool(within.all())
