"""Boxes and, where there are any, masks of one set of predictions, measured together."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from codetr.evaluation.arrays import GroundTruth, Predictions
from codetr.evaluation.coco import evaluate_coco
from codetr.evaluation.lvis import evaluate_lvis
from codetr.evaluation.matching import IouType
from codetr.evaluation.metrics import Metrics


@dataclass(frozen=True)
class Measured:
    """What an evaluation measured.

    Attributes:
        boxes: metrics of the boxes.
        masks: metrics of the masks, or None if the detector gives none or the ground truth lacks some.
        without_outline: objects of the ground truth without an outline, which kept masks from being measured.
    """

    boxes: Metrics
    masks: Metrics | None = None
    without_outline: int = 0

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
        masks: whether the detector gives masks. They are measured if every object has an outline to compare with:
            a mask AP over the others alone would be no one's number.
    """
    missing = int(np.count_nonzero(~truth.outlined)) if masks else 0
    boxes = evaluate_results(truth, predictions)
    if missing or not masks:
        return Measured(boxes, without_outline=missing)
    return Measured(boxes, evaluate_results(truth, predictions, "segm"))
