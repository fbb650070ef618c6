"""Run a detector over a whole split, on one process or many, always with the same result.

The images are cut into batches in the order of the dataset, and the batches, not the images, are distributed to the
ranks. The padding of a batch changes the last bits of a detector's results; as batches do not depend on the number of
ranks, neither do the results. Every image is in exactly one batch: no rank repeats images to get equal shares.

Each rank writes its detections into files, see `parts`, and rank 0 reads them all.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from rich.console import Console
from torch import nn

from codetr.core.errors import UserError
from codetr.core.progress import track
from codetr.data.config import PreprocessConfig
from codetr.data.loading.loader import EvalLoader, RawLoader
from codetr.evaluation.collect.parts import PART_FILES, PART_SECONDS, PartWriter, begin, gather
from codetr.evaluation.tables.predictions import PredictionTable
from codetr.inference.coco import numbers_of
from codetr.inference.predictor import Predictor
from codetr.models.structures import Detections

if TYPE_CHECKING:
    from codetr.data.dataset.split import Split
    from codetr.distributed.processes import Processes


def predict_split(
    detector: nn.Module | Predictor,
    split: Split,
    preprocess: PreprocessConfig,
    *,
    group: Processes,
    batch_size: int,
    workers: int,
    work: Path,
    key: str | None = None,
    progress: bool = True,
    part_seconds: float = PART_SECONDS,
) -> PredictionTable | None:
    """Run a detector over every image of a split. Every rank of the process group calls it.

    Args:
        detector: called with an `ImageBatch`, returns `list[Detections]` in pixels of the original images. Or a
            predictor, which is called with the original images.
        split: images and class ids.
        preprocess: how images are resized and normalised for this detector.
        group: the ranks; the detector is on its device.
        batch_size: images per batch; changes the last bits of the results.
        workers: processes per rank that read and resize images.
        work: folder for the ranks' files, which all ranks see.
        key: digest of everything the predictions depend on. What an interrupted run with the same key left in `work`
            is not computed again, and the caller removes `work`. None: it is emptied before and removed after.
        progress: print progress (rank 0 only).
        part_seconds: write a file at least this often.

    Returns:
        On rank 0 the detections of all images, by image id and best first within an image; masks are run-length codes.
        On the other ranks `None`.

    Raises:
        UserError: an image cannot be read, a box or score is not finite, the ranks do not see one folder, or it cannot
            be written to.
    """
    batches = [list(range(start, min(start + batch_size, len(split)))) for start in range(0, len(split), batch_size)]
    done = group.on_main(lambda: begin(work, key, len(batches), _say))
    todo = [k for k in range(len(batches)) if k not in done][group.rank :: group.world_size]
    mine = [batches[k] for k in todo]
    if isinstance(detector, Predictor):
        results = _predictions(detector, RawLoader(split, mine, workers=workers))
    else:
        results = _detections(detector, EvalLoader(split, preprocess, mine, workers=workers), group.device)
    images = sum(map(len, mine))
    if progress and group.is_main:
        if done:
            before = sum(len(batches[k]) for k in done)
            _say(f"Resuming an interrupted evaluation: {before} of {len(split)} images are done")
        share = f" (process 1 of {group.world_size})" if group.world_size > 1 else ""
        results = track(results, images, f"detect images{share}")
    predictions: PredictionTable | None = None

    def collect() -> None:
        nonlocal predictions
        predictions = gather(work, len(batches))

    try:
        # A predictor sets the mode of its model itself.
        with nullcontext() if isinstance(detector, Predictor) else evaluating(detector):
            _write(results, split, dict(zip(todo, mine, strict=True)), PartWriter(work, seconds=part_seconds))
        group.wait()
        group.on_main(collect)
    finally:
        if group.is_main and (key is None or not any(work.glob(PART_FILES))):
            shutil.rmtree(work, ignore_errors=True)
    return predictions


def _say(line: str) -> None:
    Console(stderr=True).print(line, highlight=False, markup=False, soft_wrap=True)


def _write(
    results: Iterator[Detections], split: Split, batches: Mapping[int, Sequence[int]], writer: PartWriter
) -> None:
    """Write the detections of batches, which come image by image."""
    position = np.argsort(np.argsort(split.image_ids, kind="stable"), kind="stable")
    try:
        for batch, indices in batches.items():
            detections = []
            for index in indices:
                numbers = numbers_of(next(results), f"image {split.image_ids[index]}")
                detections.append((int(position[index]), numbers))
            writer.add(batch, detections)
        # Finishes the progress display.
        for _ in results:
            raise AssertionError("more images than in the batches")
    except BaseException:
        # Raise what stopped the run, not that another process has removed the folder for the same reason.
        with suppress(UserError):
            writer.flush()
        raise
    writer.flush()


def _detections(detector: nn.Module, loader: EvalLoader, device: torch.device) -> Iterator[Detections]:
    """Yield the detections of a detector, image by image."""
    for batch in loader:
        detections: list[Detections] = detector(batch.to(device, non_blocking=True))
        yield from detections


def _predictions(predictor: Predictor, loader: RawLoader) -> Iterator[Detections]:
    """Yield the detections of a predictor, image by image."""
    for images, _ in loader:
        yield from predictor.detect(images)


@contextmanager
def evaluating(detector: nn.Module) -> Iterator[None]:
    """Set evaluation mode without gradients, and restore the mode afterwards."""
    training = detector.training
    detector.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        detector.train(training)
