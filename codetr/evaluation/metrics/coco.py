"""COCO metrics of boxes or masks (Lin et al., ECCV 2014; cocodataset.org/#detection-eval).

They are defined by the program pycocotools as much as by any text. Its rules and its order of summation are kept, so
that every number equals its to the last digit. Two things that it takes amiss are put right: an annotation id may be 0
or used twice (it reads a match with the annotation of id 0 as no match, and merges annotations that share an id), and
an empty list of predictions is a result (it fails on one).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from codetr.core.errors import UserError
from codetr.evaluation.metrics.matching import IouType, Rules, match
from codetr.evaluation.metrics.precision_recall import mean, recall_within, trace
from codetr.evaluation.metrics.summary import ALL_AREAS, IOU50, IOU75, SIZES, Metrics, describe
from codetr.evaluation.tables.ground_truth import GroundTruth
from codetr.evaluation.tables.predictions import Predictions

SUMMARY_NAMES = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")
RULES = Rules(per_class=100)


def evaluate_coco(
    ground_truth: dict[str, Any] | GroundTruth,
    predictions: list[dict[str, Any]] | Predictions,
    iou_type: IouType = "bbox",
) -> Metrics:
    """Compare predictions with ground truth as pycocotools does, to the last digit.

    Args:
        ground_truth: a COCO annotation file as read from JSON (`images`, `annotations`, `categories`), left unchanged;
            or the same as arrays.
        predictions: COCO results, `{image_id, category_id, bbox [x, y, w, h] pixels, score}`, with `segmentation` for
            masks; left unchanged. Or the same as arrays, with positions in the ground truth's ascending ids. With equal
            scores the earlier one counts as the better. Where detections carry both a box and a mask, their area is
            that of the box; if they carry a `mask_score` too, masks count by that and their area is their own, as the
            programs do that published mask metrics come from.
        iou_type: compare boxes ("bbox") or masks ("segm").

    Raises:
        UserError: a detection is of an unknown image, or masks are to be compared and an object or detection has none.
    """
    truth, found = arrays(ground_truth, predictions, iou_type)
    matching = match(truth, found, RULES, iou_type)
    curves = trace(matching, truth.label[matching.objects], len(truth.category_ids))
    precision, recall = curves.precision, curves.recall
    few = {most: recall_within(matching, curves.objects[:, ALL_AREAS], most) for most in (1, 10)}
    values = (
        mean(precision[..., ALL_AREAS]),
        mean(precision[IOU50, ..., ALL_AREAS]),
        mean(precision[IOU75, ..., ALL_AREAS]),
        *(mean(precision[..., size]) for size in SIZES.values()),
        *(mean(few[most]) for most in few),
        *(mean(recall[..., size]) for size in (ALL_AREAS, *SIZES.values())),
    )
    return describe(
        truth,
        found,
        matching,
        curves,
        iou_type=iou_type,
        federated=False,
        summary=dict(zip(SUMMARY_NAMES, values, strict=True)),
        recall_name="AR100",
    )


def arrays(
    ground_truth: dict[str, Any] | GroundTruth, predictions: list[dict[str, Any]] | Predictions, iou_type: IouType
) -> tuple[GroundTruth, Predictions]:
    """Both sides as arrays, with masks where masks are to be compared.

    Raises:
        UserError: see `evaluate_coco`.
    """
    truth = ground_truth if isinstance(ground_truth, GroundTruth) else GroundTruth.of_coco(ground_truth)
    if iou_type == "segm":
        sides = [("annotations", truth.has_segmentation)]
        if isinstance(predictions, Predictions):
            if predictions.segmentations is None and len(predictions):
                raise UserError("they have no masks", where="predictions")
        else:
            sides.append(("predictions", np.array([bool(entry.get("segmentation")) for entry in predictions], bool)))
        for what, has_segmentation in sides:
            # Boxes would be taken for masks otherwise.
            if missing := np.count_nonzero(~has_segmentation):
                raise UserError(f"{missing} of {len(has_segmentation)} have no segmentation", where=what)
    found = predictions if isinstance(predictions, Predictions) else Predictions.of_coco(predictions, truth)
    return truth, found


def wrong_and_found(ground_truth: dict[str, Any], predictions: list[dict[str, Any]]) -> tuple[set[int], set[int]]:
    """Which detections are wrong and which objects are found, at IoU 0.50, by the rules of the ground truth.

    Args:
        ground_truth: COCO or LVIS ground truth, every object of a listed image and class.
        predictions: COCO results.

    Returns:
        Positions in `predictions` that count as wrong (not those that lie in a crowd region, nor those of classes
        that are not verified in their image), and positions in `ground_truth["annotations"]` that are matched.
    """
    truth = GroundTruth.of_coco(ground_truth)
    rules = Rules(federated=True) if truth.federated else Rules()
    matching = match(truth, Predictions.of_coco(predictions, truth), rules, "bbox")
    matched = matching.found[ALL_AREAS, IOU50]
    counted = ~matching.uncounted[ALL_AREAS]
    counted[matching.candidates[matched >= 0]] = False
    found = matching.objects[matched[matched >= 0]]
    return set(matching.detection[counted].tolist()), set(np.unique(found).tolist())
