"""LVIS metrics of boxes or masks (Gupta, Dollár and Girshick, "LVIS", CVPR 2019, section 5).

LVIS is a federated dataset: of each image only some classes are verified. Detections of other classes are dropped,
false positives of classes whose objects are not all annotated are ignored, and AP is given for rare, common and
frequent classes. The rules and the order of summation are those of the package `lvis`.
"""

from __future__ import annotations

from typing import Any

from codetr.evaluation.metrics.coco import to_arrays
from codetr.evaluation.metrics.matching import IouType, Rules, match
from codetr.evaluation.metrics.metric_spec import LVIS_MAX_DETS, lvis_metrics
from codetr.evaluation.metrics.summary import Metrics, compute_metrics
from codetr.evaluation.tables.ground_truth import GroundTruth
from codetr.evaluation.tables.predictions import PredictionTable


def evaluate_lvis(
    ground_truth: dict[str, Any] | GroundTruth,
    predictions: list[dict[str, Any]] | PredictionTable,
    iou_type: IouType = "bbox",
    *,
    max_dets: int | None = LVIS_MAX_DETS,
) -> Metrics:
    """Compare predictions with a federated ground truth as the package `lvis` does, to the last digit.

    Args:
        ground_truth: an LVIS annotation file as read from JSON, v0.5 or v1, left unchanged; or the same as arrays.
            Images without `neg_category_ids` or `not_exhaustive_category_ids` have none, classes without `frequency`
            are in no group.
        predictions: as for `evaluate_coco`.
        iou_type: compare boxes ("bbox") or masks ("segm").
        max_dets: best detections of each image that take part, over all classes; None for all.

    Raises:
        UserError: as `evaluate_coco`.
    """
    truth, table = to_arrays(ground_truth, predictions, iou_type)
    matching = match(truth, table, Rules(per_image=max_dets, federated=True), iou_type)
    return compute_metrics(truth, table, matching, lvis_metrics(max_dets), iou_type=iou_type, federated=True)
