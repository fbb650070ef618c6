"""Boxes and, where there are any, masks of one set of predictions, measured together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from codetr.evaluation.arrays import GroundTruth, Predictions, is_federated
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


def evaluate_results(
    ground_truth: dict[str, Any], predictions: list[dict[str, Any]] | Predictions, iou_type: IouType = "bbox"
) -> Metrics:
    """LVIS metrics where the ground truth says which classes of an image are verified, COCO metrics elsewhere.

    Args:
        ground_truth: COCO or LVIS ground truth.
        predictions: COCO results, or the same as arrays.
        iou_type: compare boxes ("bbox") or masks ("segm").
    """
    if is_federated(ground_truth):
        return evaluate_lvis(ground_truth, predictions, iou_type)
    return evaluate_coco(ground_truth, predictions, iou_type)


def measure(ground_truth: dict[str, Any], predictions: list[dict[str, Any]], *, masks: bool) -> Measured:
    """Compare predictions with ground truth, by COCO's or LVIS's rules.

    Args:
        ground_truth: COCO or LVIS ground truth.
        predictions: COCO results.
        masks: whether the detector gives masks. They are measured if every object has an outline to compare with:
            a mask AP over the others alone would be no one's number.
    """
    missing = sum(not annotation.get("segmentation") for annotation in ground_truth["annotations"]) if masks else 0
    if missing or not masks:
        return Measured(evaluate_results(ground_truth, predictions), without_outline=missing)
    found = Predictions.of_coco(predictions, GroundTruth.of_coco(ground_truth))
    return Measured(evaluate_results(ground_truth, found), evaluate_results(ground_truth, found, "segm"))
