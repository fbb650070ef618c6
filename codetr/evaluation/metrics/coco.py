"""COCO metrics of boxes or masks (Lin et al., ECCV 2014; cocodataset.org/#detection-eval).

They are defined by the program pycocotools as much as by any text. Its rules and its order of summation are kept, so
that every number is equal to its number to the last digit. Two of its defects are corrected: an annotation id may be 0
or used twice (it reads a match with the annotation of id 0 as no match, and merges annotations that share an id), and
an empty list of predictions is a result (it fails on one).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from codetr.core.errors import UserError
from codetr.evaluation.metrics.matching import IouType, Rules, match
from codetr.evaluation.metrics.metric_spec import COCO_METRICS
from codetr.evaluation.metrics.summary import Metrics, compute_metrics
from codetr.evaluation.tables.ground_truth import GroundTruth
from codetr.evaluation.tables.predictions import PredictionTable

RULES = Rules(per_class=100)


def evaluate_coco(
    ground_truth: dict[str, Any] | GroundTruth,
    predictions: list[dict[str, Any]] | PredictionTable,
    iou_type: IouType = "bbox",
) -> Metrics:
    """Compare predictions with ground truth as pycocotools does, to the last digit.

    Args:
        ground_truth: a COCO annotation file as read from JSON (`images`, `annotations`, `categories`), left unchanged;
            or the same as arrays.
        predictions: COCO results, `{image_id, category_id, bbox [x, y, w, h] pixels, score}`, with `segmentation` for
            masks; left unchanged. Or the same as arrays, with positions in the ground truth's ascending ids. Of equal
            scores the earlier detection ranks higher. Where detections have both a box and a mask, their area is that
            of the box; if they have a `mask_score` too, masks are ranked by that and their area is that of the mask,
            as in the programs that published mask metrics come from.
        iou_type: compare boxes ("bbox") or masks ("segm").

    Raises:
        UserError: a detection is of an unknown image, or masks are to be compared and an object or detection has none.
    """
    truth, table = to_arrays(ground_truth, predictions, iou_type)
    matching = match(truth, table, RULES, iou_type)
    return compute_metrics(truth, table, matching, COCO_METRICS, iou_type=iou_type, federated=False)


def to_arrays(
    ground_truth: dict[str, Any] | GroundTruth, predictions: list[dict[str, Any]] | PredictionTable, iou_type: IouType
) -> tuple[GroundTruth, PredictionTable]:
    """Return ground truth and predictions as arrays, checked to have masks where masks are to be compared.

    Raises:
        UserError: see `evaluate_coco`.
    """
    truth = ground_truth if isinstance(ground_truth, GroundTruth) else GroundTruth.of_coco(ground_truth)
    if iou_type == "segm":
        sides = [("annotations", truth.has_segmentation)]
        if isinstance(predictions, PredictionTable):
            if predictions.segmentations is None and len(predictions):
                raise UserError("they have no masks", where="predictions")
        else:
            sides.append(("predictions", np.array([bool(entry.get("segmentation")) for entry in predictions], bool)))
        for where, has_segmentation in sides:
            # pycocotools would compare boxes as if they were masks.
            if missing := np.count_nonzero(~has_segmentation):
                raise UserError(f"{missing} of {len(has_segmentation)} have no segmentation", where=where)
    table = predictions if isinstance(predictions, PredictionTable) else PredictionTable.of_coco(predictions, truth)
    return truth, table
