"""Counts per image and per class at one score threshold, the operating point.

COCO's AP says how good the ranking of all detections is; it does not belong to one image and has no threshold. To
show which images are detected badly, and how the detector behaves in use, single detections are counted as well: at
the score threshold with the highest F1 over the whole set (the operating point), at IoU 0.50.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from codetr.evaluation.metrics.metric_spec import IOU50
from codetr.evaluation.metrics.precision_recall import average_precisions
from codetr.evaluation.metrics.true_positives import Matches
from codetr.evaluation.tables.ground_truth import GroundTruth


@dataclass(frozen=True)
class OperatingPoint:
    """The score threshold with the highest F1 at IoU 0.50 over all classes together.

    Attributes:
        score: detections with at least this score count; 0 when there is no true positive.
        precision: TP / (TP + FP), `None` without detections.
        recall: TP / objects, `None` without objects.
        f1: harmonic mean of both, `None` without detections and objects.
    """

    score: float
    precision: float | None
    recall: float | None
    f1: float | None


@dataclass(frozen=True)
class ClassPrecisionRecall:
    """One class at the operating point and IoU 0.50; ratios are `None` where there is nothing to count."""

    precision: float | None
    recall: float | None
    ground_truths: int
    images: int


@dataclass(frozen=True)
class ImageMetrics:
    """One image.

    Attributes:
        image_id: id in the annotation file.
        file_name: name in the annotation file.
        ground_truths: objects that count.
        tp: true positives, at the operating point and IoU 0.50.
        fp: false positives.
        fn: false negatives: missed objects.
        f1: 2 TP / (2 TP + FP + FN); `None` without objects and detections.
        AP: AP of this image alone, mean over IoU 0.50 to 0.95 and over the classes present in it; `None` for
            an image without objects. It needs no threshold. Its mean over images is not the AP of the set.
    """

    image_id: int
    file_name: str
    ground_truths: int
    tp: int
    fp: int
    fn: int
    f1: float | None
    AP: float | None


def operating_point(matches: Matches) -> OperatingPoint:
    """Find the score threshold with the highest F1 at IoU 0.50; of equal ones the highest threshold."""
    objects = int(matches.gt_group_count.sum())
    order = np.argsort(-matches.score, kind="stable")
    scores = matches.score[order]
    tp = np.cumsum(matches.tp[IOU50, order])
    fp = np.cumsum(matches.fp[IOU50, order])
    # A threshold includes all detections of one score or none of them.
    last = np.flatnonzero(np.diff(scores, append=-np.inf)) if scores.size else np.zeros(0, dtype=np.int64)
    if not last.size or not objects or not tp[-1]:
        false_positives = int(fp[-1]) if fp.size else 0
        recall = 0.0 if objects else None
        f1 = 0.0 if false_positives or objects else None
        return OperatingPoint(0.0, 0.0 if false_positives else None, recall, f1)
    f1_scores = 2 * tp[last] / (tp[last] + fp[last] + objects)
    best = last[int(np.argmax(f1_scores))]
    return OperatingPoint(
        score=float(scores[best]),
        precision=float(tp[best] / (tp[best] + fp[best])),
        recall=float(tp[best] / objects),
        f1=float(f1_scores.max()),
    )


def class_counts(matches: Matches, classes: int, score: float) -> list[ClassPrecisionRecall]:
    """Return counts of every class over the detections with at least `score`, at IoU 0.50."""
    above = matches.score >= score
    tp = np.bincount(matches.label[above & matches.tp[IOU50]], minlength=classes)
    fp = np.bincount(matches.label[above & matches.fp[IOU50]], minlength=classes)
    objects = np.bincount(matches.gt_group_label, weights=matches.gt_group_count, minlength=classes).astype(np.int64)
    images = np.bincount(matches.gt_group_label, minlength=classes)
    return [
        ClassPrecisionRecall(
            precision=float(tp[k] / (tp[k] + fp[k])) if tp[k] + fp[k] else None,
            recall=float(tp[k] / objects[k]) if objects[k] else None,
            ground_truths=int(objects[k]),
            images=int(images[k]),
        )
        for k in range(classes)
    ]


def image_metrics(matches: Matches, truth: GroundTruth, score: float) -> list[ImageMetrics]:
    """Return the metrics of every image of the ground truth, over the detections with at least `score`."""
    count = len(matches.image_ids)
    above = matches.score >= score
    tp = np.bincount(matches.image[above & matches.tp[IOU50]], minlength=count)
    fp = np.bincount(matches.image[above & matches.fp[IOU50]], minlength=count)
    objects = np.bincount(matches.gt_group_image, weights=matches.gt_group_count, minlength=count).astype(np.int64)
    precisions = _image_precisions(matches, count)
    result = []
    for i, file_name in enumerate(truth.file_names):
        fn = int(objects[i] - tp[i])
        total = 2 * int(tp[i]) + int(fp[i]) + fn
        result.append(
            ImageMetrics(
                image_id=int(matches.image_ids[i]),
                file_name=file_name,
                ground_truths=int(objects[i]),
                tp=int(tp[i]),
                fp=int(fp[i]),
                fn=fn,
                f1=2 * int(tp[i]) / total if total else None,
                AP=precisions[i],
            )
        )
    return result


def _image_precisions(matches: Matches, images: int) -> list[float | None]:
    """Return the AP of every image alone, mean over IoU thresholds and its classes; `None` without objects."""
    # Detections come sorted by class, then image, then falling score: those of one class and image are one run.
    dt_key = matches.label * images + matches.image
    gt_key = matches.gt_group_label * images + matches.gt_group_image
    group = np.minimum(np.searchsorted(gt_key, dt_key), max(len(gt_key) - 1, 0))
    has_objects = gt_key[group] == dt_key if len(gt_key) else np.zeros(len(dt_key), bool)
    group = group[has_objects]
    begins = np.searchsorted(group, np.arange(len(gt_key)))
    total = np.zeros(len(gt_key))
    for tp, fp in zip(matches.tp[:, has_objects], matches.fp[:, has_objects], strict=True):
        up_to = np.cumsum(tp | fp)
        counted = up_to - np.concatenate([[0], up_to])[begins[group]]
        total += average_precisions(counted[tp], group[tp], matches.gt_group_count)
    mean = total / len(matches.tp)
    present = np.bincount(matches.gt_group_image, minlength=images)
    sums = np.bincount(matches.gt_group_image, weights=mean, minlength=images)
    return [float(sums[i] / present[i]) if present[i] else None for i in range(images)]
