"""Predictions of a detector over a whole split, on one process or many, always with the same result.

The images are cut into batches in the order of the dataset, and the batches, not the images, are dealt out to the
ranks. A detector sees the padding of a batch, if only in the last bits of its numbers; with batches that do not
depend on the number of ranks, neither does the result. Every image is in exactly one batch: no rank repeats images
to come out even.

Each rank leaves what it found in a file of its own in a folder that all of them see, and rank 0 puts the files
together in the order of the dataset.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.distributed as dist
from torch import nn

from codetr.data.config import PreprocessConfig
from codetr.data.loader import EvalLoader, RawLoader
from codetr.data.progress import track
from codetr.errors import UserError
from codetr.files import read_json, write_json
from codetr.inference.coco import coco_results
from codetr.inference.predictor import Predictor
from codetr.models.structures import Detections

if TYPE_CHECKING:
    from codetr.data.dataset import Split


def ranks() -> tuple[int, int]:
    """(rank, world size) of this process; (0, 1) without a process group."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1


def predict_split(
    detector: nn.Module | Predictor,
    split: Split,
    preprocess: PreprocessConfig,
    *,
    device: torch.device,
    batch_size: int,
    workers: int,
    work: Path,
    progress: bool = True,
) -> list[dict[str, Any]] | None:
    """Run a detector over every image of a split. Every rank of the process group calls it.

    Args:
        detector: called with an `ImageBatch`, gives `list[Detections]` in pixels of the original images. Or a
            predictor, which is shown the images as they are.
        split: images and class ids.
        preprocess: how images are resized and normalised for this detector.
        device: where the detector is.
        batch_size: images per batch; part of the result, in the last bits.
        workers: processes per rank that read and resize images.
        work: folder for the ranks' files, seen by all ranks; it is emptied before and removed after.
        progress: print progress (rank 0 only).

    Returns:
        On rank 0 the COCO results of all images, in the order of the dataset and best first within an image;
        boxes are [x, y, width, height] in pixels, masks run-length codes. On the other ranks `None`.
    """
    rank, world_size = ranks()
    if rank == 0:
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
    _wait()
    sizes = {"batch_size": batch_size, "workers": workers, "rank": rank, "world_size": world_size}
    if isinstance(detector, Predictor):
        results = _predictions(detector, RawLoader(split, **sizes))
    else:
        results = _detections(detector, EvalLoader(split, preprocess, **sizes), device)
    if progress and rank == 0:
        starts = range(0, len(split), world_size * batch_size)
        mine = sum(min(batch_size, len(split) - start) for start in starts)
        share = f" (process 1 of {world_size})" if world_size > 1 else ""
        results = track(results, mine, f"detect images{share}")
    category_ids = np.asarray(split.category_ids, dtype=np.int64)
    found: dict[str, list[dict[str, Any]]] = {}
    try:
        # A predictor sees to its model itself.
        with nullcontext() if isinstance(detector, Predictor) else evaluating(detector):
            for image_id, entry in results:
                found[str(image_id)] = coco_results(entry, image_id, category_ids)
        write_json(work / f"rank-{rank}.json", found, indent=None)
        _wait()
        return merge([work / f"rank-{r}.json" for r in range(world_size)], split) if rank == 0 else None
    finally:
        if rank == 0:
            shutil.rmtree(work, ignore_errors=True)


def _detections(detector: nn.Module, loader: EvalLoader, device: torch.device) -> Iterator[tuple[int, Detections]]:
    """Image id and detections, image by image."""
    for batch in loader:
        detections: list[Detections] = detector(batch.to(device, non_blocking=True))
        yield from zip(batch.image_ids, detections, strict=True)


def _predictions(predictor: Predictor, loader: RawLoader) -> Iterator[tuple[int, Detections]]:
    """The same of a predictor."""
    for images, image_ids in loader:
        yield from zip(image_ids, predictor.detect(images), strict=True)


def merge(shards: list[Path], split: Split) -> list[dict[str, Any]]:
    """Put the ranks' files together in the order of the dataset.

    Raises:
        UserError: an image is in no file or in more than one: the folder is not shared by all ranks, or written by
            another run at the same time.
    """
    found: dict[str, list[dict[str, Any]]] = {}
    count = 0
    for shard in shards:
        part = read_json(shard)
        count += len(part)
        found.update(part)
    if count != len(split) or len(found) != count:
        raise UserError(
            f"holds predictions for {len(found)} images ({count} in all files), expected {len(split)}",
            where=str(shards[0].parent),
            hint="All processes must see this folder, and only one run may use it at a time.",
        )
    return [entry for image_id in split.image_ids.tolist() for entry in found[str(image_id)]]


@contextmanager
def evaluating(detector: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients; the mode is put back afterwards."""
    training = detector.training
    detector.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        detector.train(training)


def _wait() -> None:
    """Until every rank is here."""
    if dist.is_available() and dist.is_initialized():
        dist.barrier()
