"""COCO metrics of boxes or masks, computed by pycocotools itself.

The metrics of COCO (Lin et al., ECCV 2014; cocodataset.org/#detection-eval) are defined by pycocotools' program as
much as by any text, so `COCOeval` does the matching and the averaging, and this file only asks it and names what
comes back. Two things are put right on the way in, because pycocotools takes them silently amiss: annotation ids
are renumbered from 1 (it reads a match with the annotation of id 0 as no match, and merges annotations that share
an id), and an empty list of predictions is a result (it fails on one).
"""

from __future__ import annotations

import contextlib
import io
from collections import Counter
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from codetr.errors import UserError
from codetr.evaluation.matches import (
    ImageMetrics,
    Matches,
    OperatingPoint,
    class_counts,
    image_metrics,
    operating_point,
)

SUMMARY_NAMES = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")
IOU_THRESHOLDS: NDArray[np.float64] = np.linspace(0.5, 0.95, 10)

# Positions in COCOeval's arrays: all areas, at most 100 detections, IoU 0.50 and 0.75.
_ALL_AREAS, _MAX_100, _IOU50, _IOU75 = 0, 2, 0, 5

IouType = Literal["bbox", "segm"]


@dataclass(frozen=True)
class ClassMetrics:
    """One class. `None` where there is nothing to measure: a class without ground truth has no AP.

    Attributes:
        category_id: id in the annotation file.
        name: class name.
        AP: average precision, mean over IoU 0.50 to 0.95.
        AP50: average precision at IoU 0.50.
        AP75: average precision at IoU 0.75.
        AR100: highest recall with 100 detections per image, mean over IoU 0.50 to 0.95.
        precision: share of detections that are right, at IoU 0.50 and the operating point.
        recall: share of objects that are found, at IoU 0.50 and the operating point.
        ground_truths: objects to be found (crowd regions do not count).
        images: images that hold at least one of them.
        detections: detections of this class in the predictions, whatever their score.
    """

    category_id: int
    name: str
    AP: float | None
    AP50: float | None
    AP75: float | None
    AR100: float | None
    precision: float | None
    recall: float | None
    ground_truths: int
    images: int
    detections: int


@dataclass(frozen=True)
class CocoMetrics:
    """What an evaluation measured.

    Attributes:
        iou_type: boxes or masks.
        summary: the 12 numbers of COCO by name, `None` where pycocotools says -1 (nothing to measure).
        classes: one entry per category, in the order of their ids.
        images: one entry per image, in the order of the ground truth's image list.
        precision: (IoU thresholds 10, recall thresholds 101, classes) interpolated precision; NaN for classes
            without ground truth.
        operating_point: the score threshold with the highest F1 at IoU 0.50, to which counts of single
            detections refer.
        matches: every detection with whether it is right, from which the rest can be computed again.
    """

    iou_type: IouType
    summary: dict[str, float | None]
    classes: list[ClassMetrics]
    images: list[ImageMetrics]
    precision: NDArray[np.float64]
    operating_point: OperatingPoint
    matches: Matches

    @property
    def flat(self) -> dict[str, float | int | None]:
        """The headline as one flat mapping: the 12 numbers, counts and the operating point."""
        return {
            **self.summary,
            "precision": self.operating_point.precision,
            "recall": self.operating_point.recall,
            "f1": self.operating_point.f1,
            "score_threshold": self.operating_point.score,
            "images": len(self.images),
            "ground_truths": sum(entry.ground_truths for entry in self.classes),
            "detections": sum(entry.detections for entry in self.classes),
        }


def evaluate_coco(
    ground_truth: dict[str, Any], predictions: list[dict[str, Any]], iou_type: IouType = "bbox"
) -> CocoMetrics:
    """Compare predictions with ground truth as pycocotools does, to the last digit.

    Args:
        ground_truth: a COCO annotation file as read from JSON (`images`, `annotations`, `categories`); left unchanged.
        predictions: COCO results, `{image_id, category_id, bbox [x, y, w, h] pixels, score}`, with `segmentation` for
            masks; left unchanged. With equal scores the earlier one counts as the better. Where detections carry
            both a box and a mask, their area is that of the box; if they carry a `mask_score` too, masks count by that
            and their area is their own, as the programs do that published mask metrics come from.
        iou_type: compare boxes ("bbox") or masks ("segm").

    Raises:
        UserError: masks are to be compared and some object or detection has none.
    """
    if iou_type == "segm":
        for what, entries in (("annotations", ground_truth["annotations"]), ("predictions", predictions)):
            # pycocotools would take the boxes of detections for their masks.
            if missing := sum(not entry.get("segmentation") for entry in entries):
                raise UserError(f"{missing} of {len(entries)} have no segmentation", where=what)
        if any("mask_score" in entry for entry in predictions):
            predictions = [mask_result(entry) for entry in predictions]
    evaluation = _run_cocoeval(ground_truth, predictions, iou_type)
    names = {int(entry["id"]): str(entry["name"]) for entry in ground_truth["categories"]}
    category_ids = [int(k) for k in evaluation.params.catIds]
    matches = _matches(evaluation)
    point = operating_point(matches)

    precision = evaluation.eval["precision"][:, :, :, _ALL_AREAS, _MAX_100]
    recall = evaluation.eval["recall"][:, :, _ALL_AREAS, _MAX_100]
    detections = Counter(int(entry["category_id"]) for entry in predictions)
    counts = class_counts(matches, len(category_ids), point.score)
    classes = []
    for k, category_id in enumerate(category_ids):
        classes.append(
            ClassMetrics(
                category_id=category_id,
                name=names[category_id],
                AP=_mean(precision[:, :, k]),
                AP50=_mean(precision[_IOU50, :, k]),
                AP75=_mean(precision[_IOU75, :, k]),
                AR100=_mean(recall[:, k]),
                precision=counts[k].precision,
                recall=counts[k].recall,
                ground_truths=counts[k].ground_truths,
                images=counts[k].images,
                detections=detections[category_id],
            )
        )
    summary = {
        name: None if value == -1 else float(value) for name, value in zip(SUMMARY_NAMES, evaluation.stats, strict=True)
    }
    return CocoMetrics(
        iou_type=iou_type,
        summary=summary,
        classes=classes,
        images=image_metrics(matches, ground_truth["images"], point.score),
        precision=np.where(precision < 0, np.nan, precision),
        operating_point=point,
        matches=matches,
    )


def mask_result(entry: dict[str, Any]) -> dict[str, Any]:
    """The mask of a COCO result as a result of its own: without the box, and with `mask_score` as the score."""
    own = {key: value for key, value in entry.items() if key not in ("bbox", "mask_score")}
    return {**own, "score": entry.get("mask_score", entry["score"])}


def right_and_found(ground_truth: dict[str, Any], predictions: list[dict[str, Any]]) -> tuple[set[int], set[int]]:
    """Which detections are right and which objects are found, at IoU 0.50.

    Args:
        ground_truth: COCO ground truth.
        predictions: COCO results.

    Returns:
        Positions in `predictions` that match an object or lie in a crowd region, and positions in
        `ground_truth["annotations"]` that are matched.
    """
    evaluation = _run_cocoeval(ground_truth, predictions, "bbox")
    right, found = set(), set()
    for result in evaluation.evalImgs:
        if result is None or result["aRng"] != evaluation.params.areaRng[_ALL_AREAS]:
            continue
        # Both lists were numbered from 1 on the way in.
        matched = np.flatnonzero(result["dtMatches"][_IOU50] > 0)
        right |= {int(result["dtIds"][d]) - 1 for d in matched}
        found |= {int(result["gtIds"][g]) - 1 for g in np.flatnonzero(result["gtMatches"][_IOU50] > 0)}
    return right, found


def _run_cocoeval(ground_truth: dict[str, Any], predictions: list[dict[str, Any]], iou_type: IouType) -> COCOeval:
    """A finished `COCOeval`, on copies (it writes into what it is given) and without its printing."""
    annotations = []
    for number, annotation in enumerate(ground_truth["annotations"], start=1):
        _, _, width, height = annotation["bbox"]
        filled = {"iscrowd": 0, "area": width * height, **annotation, "id": number}
        annotations.append(filled)
    dataset = {**ground_truth, "annotations": annotations}
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = dataset
        truth.createIndex()
        if predictions:
            # pycocotools makes a polygon of each box, which takes much memory and is not used to compare boxes.
            boxes_alone = iou_type == "bbox" and "bbox" in predictions[0]
            outline: dict[str, Any] = {"segmentation": None} if boxes_alone else {}
            results = truth.loadRes([{**entry, **outline} for entry in predictions])
        else:
            results = COCO()
            results.dataset = {**dataset, "annotations": []}
            results.createIndex()
        evaluation = COCOeval(truth, results, iou_type)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation


def _matches(evaluation: COCOeval) -> Matches:
    """The matching of COCOeval over all areas as flat arrays, in its own order: by class, then image, then score."""
    params = evaluation.params
    image_ids = [int(i) for i in params.imgIds]
    areas = len(params.areaRng)
    scores: list[NDArray[np.float64]] = []
    right: list[NDArray[np.bool_]] = []
    ignored: list[NDArray[np.bool_]] = []
    where: list[tuple[int, int, int]] = []  # class, image, detections
    truths: list[tuple[int, int, int]] = []  # class, image, objects
    for k in range(len(params.catIds)):
        start = k * areas * len(image_ids)
        for i, result in enumerate(evaluation.evalImgs[start : start + len(image_ids)]):
            if result is None:
                continue
            scores.append(np.asarray(result["dtScores"], dtype=np.float64))
            right.append(result["dtMatches"] > 0)
            ignored.append(result["dtIgnore"].astype(bool))
            where.append((k, i, len(result["dtScores"])))
            objects = int(np.count_nonzero(np.asarray(result["gtIgnore"]) == 0))
            if objects:
                truths.append((k, i, objects))
    counts = [count for _, _, count in where]
    ious = len(params.iouThrs)
    table = np.asarray(truths, dtype=np.int64).reshape(-1, 3)
    return Matches(
        image_ids=np.asarray(image_ids, dtype=np.int64),
        category_ids=np.asarray(params.catIds, dtype=np.int64),
        detection_class=np.repeat(np.asarray([k for k, _, _ in where], dtype=np.int64), counts),
        detection_image=np.repeat(np.asarray([i for _, i, _ in where], dtype=np.int64), counts),
        score=np.concatenate(scores) if scores else np.zeros(0),
        right=np.concatenate(right, axis=1) if right else np.zeros((ious, 0), dtype=bool),
        ignored=np.concatenate(ignored, axis=1) if ignored else np.zeros((ious, 0), dtype=bool),
        truth_class=table[:, 0],
        truth_image=table[:, 1],
        truth_count=table[:, 2],
    )


def _mean(values: NDArray[np.float64]) -> float | None:
    """Mean of the entries that say something (pycocotools marks the others with -1), or `None`."""
    values = values[values > -1]
    return float(np.mean(values)) if values.size else None
