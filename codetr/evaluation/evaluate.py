"""Compute the metrics of a set of predictions: of boxes and, where there are any, of masks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from codetr.evaluation.collect.predict_split import Track, predict_split
from codetr.evaluation.metrics.coco import evaluate_coco
from codetr.evaluation.metrics.lvis import evaluate_lvis
from codetr.evaluation.metrics.matching import IouType
from codetr.evaluation.metrics.summary import Metrics
from codetr.evaluation.tables.ground_truth import GroundTruth
from codetr.evaluation.tables.predictions import PredictionTable
from codetr.inference.predictor import Model
from codetr.models.detector import CoDETR
from codetr.weights.model_folder import ModelInfo

if TYPE_CHECKING:
    from codetr.data.dataset.split import Split
    from codetr.distributed.processes import Processes

METRICS = "metrics.json"
"""The file with the metrics by name in the folder of an evaluation."""


@dataclass(frozen=True)
class EvaluationMetrics:
    """The metrics of an evaluation.

    Attributes:
        boxes: metrics of the boxes.
        masks: metrics of the masks, or None if the detector gives none or some objects have no segmentation.
        without_segmentation: objects without a segmentation, if mask metrics are missing because of them.
    """

    boxes: Metrics
    masks: Metrics | None = None
    without_segmentation: int = 0

    @property
    def flat(self) -> dict[str, float | int | None]:
        """One flat mapping: the metrics of the boxes, and the summary of the masks as `mask_<name>`."""
        if self.masks is None:
            return self.boxes.flat
        return self.boxes.flat | {f"mask_{name}": value for name, value in self.masks.summary.items()}


def evaluate_results(truth: GroundTruth, predictions: PredictionTable, iou_type: IouType = "bbox") -> Metrics:
    """Compute LVIS metrics where the ground truth says which classes of an image are verified, COCO metrics elsewhere.

    Args:
        truth: ground truth.
        predictions: detections.
        iou_type: compare boxes ("bbox") or masks ("segm").
    """
    return (evaluate_lvis if truth.federated else evaluate_coco)(truth, predictions, iou_type)


def evaluate_predictions(truth: GroundTruth, predictions: PredictionTable, *, masks: bool) -> EvaluationMetrics:
    """Compare predictions with ground truth, by COCO's or LVIS's rules.

    Args:
        truth: ground truth.
        predictions: detections.
        masks: whether the detector gives masks. They are compared if every object has a segmentation: a mask AP over
            the others alone could not be compared with any other.
    """
    missing = int(np.count_nonzero(~truth.has_segmentation)) if masks else 0
    boxes = evaluate_results(truth, predictions)
    if missing or not masks:
        return EvaluationMetrics(boxes, without_segmentation=missing)
    return EvaluationMetrics(boxes, evaluate_results(truth, predictions, "segm"))


def validate(
    detector: CoDETR,
    info: ModelInfo,
    split: Split,
    *,
    group: Processes,
    batch_size: int,
    workers: int,
    work: Path,
    track: Track | None = None,
) -> EvaluationMetrics | None:
    """Compute the metrics of a detector on a split. Every rank of the process group calls it, with the same weights.

    It draws no random numbers and leaves the detector in the mode it was in.

    Args:
        detector: the detector (not wrapped for distribution), or its average.
        info: its preprocessing, and whether it gives masks, whose metrics are then computed too.
        split: images and objects.
        group: the ranks; the detector is on its device.
        batch_size: images per batch and rank.
        workers: processes per rank that read images.
        work: a folder that all ranks see, for their results; emptied before and removed after.
        track: shows the progress on rank 0.

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
            track=track,
        )
    finally:
        detector.train(training)
    if predictions is None:
        return None
    return evaluate_predictions(GroundTruth.of_split(split), predictions, masks=info.model.gives_masks)
