"""Compute the metrics of a set of predictions: boxes and, where there are any, masks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from codetr.evaluation.collect.predict_split import predict_split
from codetr.evaluation.metrics.coco import evaluate_coco
from codetr.evaluation.metrics.lvis import evaluate_lvis
from codetr.evaluation.metrics.matching import IouType
from codetr.evaluation.metrics.summary import Metrics
from codetr.evaluation.tables.ground_truth import GroundTruth
from codetr.evaluation.tables.predictions import Predictions
from codetr.inference.predictor import Model
from codetr.models.detector import CoDETR
from codetr.weights.model_folder import ModelInfo

if TYPE_CHECKING:
    from codetr.data.dataset.split import Split
    from codetr.distributed.processes import Processes


@dataclass(frozen=True)
class Measured:
    """What an evaluation measured.

    Attributes:
        boxes: metrics of the boxes.
        masks: metrics of the masks, or None if the detector gives none or the ground truth lacks some.
        without_segmentation: objects of the ground truth without a segmentation, which kept masks from being measured.
    """

    boxes: Metrics
    masks: Metrics | None = None
    without_segmentation: int = 0

    @property
    def flat(self) -> dict[str, float | int | None]:
        """The headline as one flat mapping: that of the boxes, and the summary of the masks as `mask_<name>`."""
        if self.masks is None:
            return self.boxes.flat
        return self.boxes.flat | {f"mask_{name}": value for name, value in self.masks.summary.items()}


def evaluate_results(truth: GroundTruth, predictions: Predictions, iou_type: IouType = "bbox") -> Metrics:
    """LVIS metrics where the ground truth says which classes of an image are verified, COCO metrics elsewhere.

    Args:
        truth: ground truth.
        predictions: what is measured against it.
        iou_type: compare boxes ("bbox") or masks ("segm").
    """
    return (evaluate_lvis if truth.federated else evaluate_coco)(truth, predictions, iou_type)


def measure(truth: GroundTruth, predictions: Predictions, *, masks: bool) -> Measured:
    """Compare predictions with ground truth, by COCO's or LVIS's rules.

    Args:
        truth: ground truth.
        predictions: what is measured against it.
        masks: whether the detector gives masks. They are measured if every object has a segmentation to compare with:
            a mask AP over the others alone would be no one's number.
    """
    missing = int(np.count_nonzero(~truth.has_segmentation)) if masks else 0
    boxes = evaluate_results(truth, predictions)
    if missing or not masks:
        return Measured(boxes, without_segmentation=missing)
    return Measured(boxes, evaluate_results(truth, predictions, "segm"))


def validate(
    detector: CoDETR,
    info: ModelInfo,
    split: Split,
    *,
    group: Processes,
    batch_size: int,
    workers: int,
    work: Path,
) -> Measured | None:
    """Metrics of a detector on a split. Every rank of the process group calls it, with the same weights.

    It draws nothing at random and leaves the detector in the mode it was in.

    Args:
        detector: the detector itself (not wrapped for distribution), or its average.
        info: its preprocessing, and whether it gives masks, which are then measured too.
        split: what to validate on.
        group: the ranks; the detector is on its device.
        batch_size: images per batch and rank.
        workers: processes per rank that read images.
        work: a folder all ranks see, for their results; emptied before and removed after.

    Returns:
        The metrics on rank 0, `None` on the other ranks, which do not wait for them.
    """
    training = detector.training
    try:
        predictions = predict_split(
            Model(detector, info),
            split,
            group=group,
            batch_size=batch_size,
            workers=workers,
            work=work,
            progress=False,
        )
    finally:
        detector.train(training)
    if predictions is None:
        return None
    return measure(GroundTruth.of_split(split), predictions, masks=info.model.gives_masks)
