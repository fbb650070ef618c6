"""Run a detector over a whole split, on one process or many, always with the same result.

The images are cut into batches in the order of the dataset, and the batches, not the images, are distributed to the
ranks. The padding of a batch changes the last bits of a detector's results; as batches do not depend on the number of
ranks, neither do the results. Every image is in exactly one batch: no rank repeats images to get equal shares.

Each rank writes its detections into files, see `parts`, and rank 0 reads them all.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console

from codetr.core.errors import UserError
from codetr.core.text import one_line
from codetr.data.loading.loader import EvalLoader, whole_views
from codetr.evaluation.collect.parts import PART_FILES, PART_SECONDS, PartWriter, begin, gather
from codetr.evaluation.tables.predictions import PredictionTable
from codetr.inference.coco_results import export_detections
from codetr.inference.predictor import Predictor
from codetr.models.structures import Detections

if TYPE_CHECKING:
    from codetr.data.dataset.split import Split
    from codetr.distributed.processes import Processes


Track = Callable[[Iterator[Detections], int], Iterator[Detections]]
"""Yields the detections of each image, and shows the progress; takes them and the number of images."""


def predict_split(
    predictor: Predictor,
    split: Split,
    *,
    group: Processes,
    batch_size: int,
    workers: int,
    work: Path,
    key: str | None = None,
    track: Track | None = None,
    part_seconds: float = PART_SECONDS,
) -> PredictionTable | None:
    """Run a predictor over every image of a split. Every rank of the process group calls it.

    Args:
        predictor: a model, or a wrapper around one, on the device of `group`.
        split: images and class ids.
        group: the ranks.
        batch_size: images per batch; changes the last bits of the results.
        workers: processes per rank that read and resize images.
        work: folder for the ranks' files, which all ranks see.
        key: digest of everything the predictions depend on. What an interrupted run with the same key left in `work`
            is not computed again, and the caller removes `work`. None: it is emptied before and removed after.
        track: shows the progress on rank 0; None for none.
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
    results = _detections(predictor, split, mine, workers)
    images = sum(map(len, mine))
    if group.is_main and done:
        before = sum(len(batches[k]) for k in done)
        _say(f"Resuming an interrupted evaluation: {before} of {len(split)} images are done")
    if group.is_main and track is not None:
        results = track(results, images)
    predictions: PredictionTable | None = None

    def collect() -> None:
        nonlocal predictions
        predictions = gather(work, len(batches))

    try:
        _write(results, split, dict(zip(todo, mine, strict=True)), PartWriter(work, seconds=part_seconds))
        group.barrier()
        group.on_main(collect)
    finally:
        if group.is_main and (key is None or not any(work.glob(PART_FILES))):
            shutil.rmtree(work, ignore_errors=True)
    return predictions


def _say(line: str) -> None:
    Console(stderr=True, emoji=False).print(one_line(line), highlight=False, markup=False, soft_wrap=True)


def _write(
    results: Iterator[Detections], split: Split, batches: Mapping[int, Sequence[int]], writer: PartWriter
) -> None:
    """Write the detections of batches, which come image by image."""
    position = np.argsort(np.argsort(split.image_ids, kind="stable"), kind="stable")
    try:
        for batch, indices in batches.items():
            detections = []
            for index in indices:
                exported = export_detections(next(results), f"image {split.image_ids[index]}")
                detections.append((int(position[index]), exported))
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


def _detections(
    predictor: Predictor, split: Split, batches: Sequence[Sequence[int]], workers: int
) -> Iterator[Detections]:
    """Yield the detections of every image; loader processes read and preprocess the images of `batches` (indices)."""
    views = whole_views(split, batches, predictor.info.preprocess)
    passes = (shown for batch in views for shown in predictor.passes(batch))
    outputs = map(predictor.run, EvalLoader(split, passes, workers=workers))
    for batch in views:
        yield from predictor.merge(outputs, batch)
    # Ends the loader, which stops its processes.
    for _ in outputs:
        raise AssertionError("more outputs than planned")
