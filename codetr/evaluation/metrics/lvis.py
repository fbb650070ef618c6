"""LVIS metrics of boxes or masks (Gupta, Dollár and Girshick, "LVIS", CVPR 2019, section 5).

LVIS is a federated dataset: of each image only some classes are verified. Detections of other classes are dropped,
wrong ones of classes whose objects are not all annotated are ignored, and AP is given for rare, common and frequent
classes. The rules and the order of summation are those of the package `lvis`.
"""

from __future__ import annotations

from typing import Any

from codetr.data.lvis import FREQUENCIES
from codetr.evaluation.metrics.coco import arrays
from codetr.evaluation.metrics.matching import IouType, Rules, match
from codetr.evaluation.metrics.precision_recall import mean, trace
from codetr.evaluation.metrics.summary import ALL_AREAS, IOU50, IOU75, SIZES, Metrics, describe
from codetr.evaluation.tables.ground_truth import GroundTruth
from codetr.evaluation.tables.predictions import Predictions

MOST_DETECTIONS = 300


def evaluate_lvis(
    ground_truth: dict[str, Any] | GroundTruth,
    predictions: list[dict[str, Any]] | Predictions,
    iou_type: IouType = "bbox",
    *,
    most: int | None = MOST_DETECTIONS,
) -> Metrics:
    """Compare predictions with a federated ground truth as the package `lvis` does, to the last digit.

    Args:
        ground_truth: an LVIS annotation file as read from JSON, v0.5 or v1, left unchanged; or the same as arrays.
            Images without `neg_category_ids` or `not_exhaustive_category_ids` have none, classes without `frequency`
            are in no group.
        predictions: as for `evaluate_coco`.
        iou_type: compare boxes ("bbox") or masks ("segm").
        most: best detections of each image that take part, over all classes; None for all.

    Raises:
        UserError: as `evaluate_coco`.
    """
    truth, found = arrays(ground_truth, predictions, iou_type)
    matching = match(truth, found, Rules(per_image=most, federated=True), iou_type)
    curves = trace(matching, truth.label[matching.objects], len(truth.category_ids))
    precision, recall = curves.precision, curves.recall
    limit = -1 if most is None else most
    groups = {name: [k for k, own in enumerate(truth.frequency) if own == name] for name in FREQUENCIES}
    summary = {
        "AP": mean(precision[..., ALL_AREAS]),
        "AP50": mean(precision[IOU50, ..., ALL_AREAS]),
        "AP75": mean(precision[IOU75, ..., ALL_AREAS]),
        **{f"AP{name}": mean(precision[..., size]) for name, size in SIZES.items()},
        **{f"AP{name}": mean(precision[..., labels, ALL_AREAS]) for name, labels in groups.items()},
        f"AR@{limit}": mean(recall[..., ALL_AREAS]),
        **{f"AR{name}@{limit}": mean(recall[..., size]) for name, size in SIZES.items()},
    }
    return describe(
        truth,
        found,
        matching,
        curves,
        iou_type=iou_type,
        federated=True,
        summary=summary,
        recall_name=f"AR@{limit}",
    )
