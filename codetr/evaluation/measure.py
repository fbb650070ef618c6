"""Boxes and, where there are any, masks of one set of predictions, measured together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from codetr.evaluation.coco import SUMMARY_NAMES, CocoMetrics, evaluate_coco


@dataclass(frozen=True)
class Measured:
    """What an evaluation measured.

    Attributes:
        boxes: metrics of the boxes.
        masks: metrics of the masks, or None if the detector gives none or the ground truth lacks some.
        without_outline: objects of the ground truth without an outline, which kept masks from being measured.
    """

    boxes: CocoMetrics
    masks: CocoMetrics | None = None
    without_outline: int = 0

    @property
    def flat(self) -> dict[str, float | int | None]:
        """The headline as one flat mapping: that of the boxes, and the 12 numbers of the masks as `mask_<name>`."""
        if self.masks is None:
            return self.boxes.flat
        return self.boxes.flat | {f"mask_{name}": self.masks.summary[name] for name in SUMMARY_NAMES}


def measure(ground_truth: dict[str, Any], predictions: list[dict[str, Any]], *, masks: bool) -> Measured:
    """Compare predictions with ground truth.

    Args:
        ground_truth: COCO ground truth.
        predictions: COCO results.
        masks: whether the detector gives masks. They are measured if every object has an outline to compare with:
            a mask AP over the others alone would be no one's number.
    """
    boxes = evaluate_coco(ground_truth, predictions)
    if not masks:
        return Measured(boxes)
    annotations = ground_truth["annotations"]
    if missing := sum(not annotation.get("segmentation") for annotation in annotations):
        return Measured(boxes, without_outline=missing)
    return Measured(boxes, evaluate_coco(ground_truth, predictions, "segm"))
