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
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import nn

from codetr.data.config import PreprocessConfig
from codetr.data.loader import EvalLoader
from codetr.data.progress import track
from codetr.data.segmentation import encode_mask
from codetr.errors import UserError
from codetr.files import read_json, write_json
from codetr.models.structures import Detections

if TYPE_CHECKING:
    from codetr.data.dataset import Split


def ranks() -> tuple[int, int]:
    """(rank, world size) of this process; (0, 1) without a process group."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1


def predict_split(
    detector: nn.Module,
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
        detector: called with an `ImageBatch`, gives `list[Detections]` in pixels of the original images.
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
    loader = EvalLoader(split, preprocess, batch_size=batch_size, workers=workers, rank=rank, world_size=world_size)
    results = _detections(detector, loader, device)
    if progress and rank == 0:
        starts = range(0, len(split), world_size * batch_size)
        mine = sum(min(batch_size, len(split) - start) for start in starts)
        share = f" (process 1 of {world_size})" if world_size > 1 else ""
        results = track(results, mine, f"detect images{share}")
    category_ids = np.asarray(split.category_ids, dtype=np.int64)
    found: dict[str, list[dict[str, Any]]] = {}
    try:
        with evaluating(detector):
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


def coco_results(detections: Detections, image_id: int, category_ids: NDArray[np.int64]) -> list[dict[str, Any]]:
    """One image's detections as COCO results, masks as run-length codes in `segmentation` with a `mask_score`.

    Numbers are float32 and are written with the fewest digits that read back as the same float32, so nothing is
    rounded away and `0.9` does not become `0.8999999761581421`.

    Args:
        detections: boxes xyxy in pixels of the original image.
        image_id: id in the annotation file.
        category_ids: (classes,) id in the annotation file of every label.

    Raises:
        UserError: a box or score is not finite.
    """
    boxes = detections.boxes.detach().float().cpu().numpy().copy()
    boxes[:, 2:] -= boxes[:, :2]
    categories = category_ids[detections.labels.cpu().numpy()].tolist()
    scores = detections.scores.detach().float().cpu().numpy()
    finite = np.isfinite(boxes).all() and np.isfinite(scores).all()
    mask_scores = scores
    if detections.mask_scores is not None:
        mask_scores = detections.mask_scores.detach().float().cpu().numpy()
        finite &= np.isfinite(mask_scores).all()
    if not finite:
        hint = "The weights are damaged, or training diverged."
        raise UserError("the detector gave boxes or scores that are not finite", where=f"image {image_id}", hint=hint)
    results: list[dict[str, Any]] = [
        {"image_id": image_id, "category_id": category_id, "bbox": box, "score": score}
        for category_id, box, score in zip(categories, _shortest(boxes), _shortest(scores), strict=True)
    ]
    if detections.masks is not None:
        # One mask in pixels at a time.
        for entry, mask, score in zip(results, detections.masks, _shortest(mask_scores), strict=True):
            entry["segmentation"] = encode_mask(mask.cpu().numpy())
            entry["mask_score"] = score
    return results


def _shortest(values: NDArray[np.float32]) -> Any:
    """Nested lists of the floats with the fewest decimal digits that are the same float32."""
    return values.astype(str).astype(np.float64).tolist()


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
