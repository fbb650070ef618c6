"""Validation during training: predict a split on all ranks, and measure on the first."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from torch import nn

from codetr.data.config import PreprocessConfig
from codetr.evaluation.arrays import GroundTruth
from codetr.evaluation.measure import Measured, measure
from codetr.evaluation.predict import predict_split

if TYPE_CHECKING:
    from codetr.data.dataset.split import Split
    from codetr.distributed.processes import Processes


def validate(
    detector: nn.Module,
    split: Split,
    preprocess: PreprocessConfig,
    *,
    group: Processes,
    batch_size: int,
    workers: int,
    work: Path,
    masks: bool = False,
) -> Measured | None:
    """Metrics of a detector on a split. Every rank of the process group calls it, with the same weights.

    It draws nothing at random and leaves the detector in the mode it was in.

    Args:
        detector: the detector itself (not wrapped for distribution), or its average.
        split: what to validate on.
        preprocess: how images are resized and normalised for this detector.
        group: the ranks; the detector is on its device.
        batch_size: images per batch and rank.
        workers: processes per rank that read images.
        work: a folder all ranks see, for their results; emptied before and removed after.
        masks: whether the detector gives masks, which are measured too then.

    Returns:
        The metrics on rank 0, `None` on the other ranks, which do not wait for them.
    """
    predictions = predict_split(
        detector,
        split,
        preprocess,
        group=group,
        batch_size=batch_size,
        workers=workers,
        work=work,
        progress=False,
    )
    if predictions is None:
        return None
    return measure(GroundTruth.of_split(split), predictions, masks=masks)
