"""From matched detections to numbers per image, per class and at one score threshold.

COCO's AP says how good the ranking of all detections is; it does not belong to one image and has no threshold. To
show which images go wrong, and how the detector behaves when it is used, single detections are counted as well: at
the score threshold with the highest F1 over the whole set (the operating point), at IoU 0.50.

Counting at a threshold needs no second matching: COCO matches greedily from the highest score down, so that leaving
out the detections below a threshold does not change the matches of the others.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from codetr.evaluation.metrics.matching import Matching
from codetr.evaluation.metrics.precision_recall import average_precisions
from codetr.evaluation.tables.ground_truth import GroundTruth


@dataclass(frozen=True)
class Matches:
    """Detections and objects after matching, as flat arrays. Classes and images are positions, not ids.

    Attributes:
        image_ids: (images,) id of every image.
        category_ids: (classes,) id of every class.
        detection_class: (detections,) class of every detection that takes part in the metrics.
        detection_image: (detections,) image.
        score: (detections,).
        right: (IoU thresholds, detections) matched to an object of its class.
        ignored: (IoU thresholds, detections) counts neither as right nor as wrong (it lies in a crowd region, or is of
            a class whose objects in the image are not all annotated).
        truth_class: (n,) class of objects to be found, one entry per class and image that has any.
        truth_image: (n,) their image.
        truth_count: (n,) how many; crowd regions do not count.
    """

    image_ids: NDArray[np.int64]
    category_ids: NDArray[np.int64]
    detection_class: NDArray[np.int64]
    detection_image: NDArray[np.int64]
    score: NDArray[np.float64]
    right: NDArray[np.bool_]
    ignored: NDArray[np.bool_]
    truth_class: NDArray[np.int64]
    truth_image: NDArray[np.int64]
    truth_count: NDArray[np.int64]

    @classmethod
    def of(cls, matching: Matching, truth: GroundTruth) -> Self:
        """The part of a matching that is about objects of all sizes."""
        found = matching.found[0]
        ignored = np.tile(matching.uncounted[0], (len(found), 1))
        right = np.zeros_like(ignored)
        right[:, matching.candidates] = found >= 0
        skipped = matching.skipped[0]
        ignored[:, matching.candidates] = np.where(found >= 0, skipped[found], ignored[:, matching.candidates])
        sought = matching.objects[~skipped]
        images = len(truth.image_ids)
        places, counts = np.unique(truth.label[sought] * images + truth.image[sought], return_counts=True)
        return cls(
            image_ids=truth.image_ids,
            category_ids=truth.category_ids,
            detection_class=matching.label,
            detection_image=matching.image,
            score=matching.score,
            right=right,
            ignored=ignored,
            truth_class=places // max(images, 1),
            truth_image=places % max(images, 1),
            truth_count=counts,
        )

    @property
    def true_positives(self) -> NDArray[np.bool_]:
        """(IoU thresholds, detections) right and counted."""
        return self.right & ~self.ignored

    @property
    def false_positives(self) -> NDArray[np.bool_]:
        """(IoU thresholds, detections) wrong and counted."""
        return ~self.right & ~self.ignored


@dataclass(frozen=True)
class OperatingPoint:
    """The score threshold with the highest F1 at IoU 0.50 over all classes together.

    Attributes:
        score: detections with at least this score count; 0 when no detection is right.
        precision: share of them that are right, `None` without detections.
        recall: share of objects found, `None` without objects.
        f1: harmonic mean of both, `None` without detections and objects.
    """

    score: float
    precision: float | None
    recall: float | None
    f1: float | None


@dataclass(frozen=True)
class ClassCounts:
    """Counts of one class at the operating point and IoU 0.50; ratios are `None` where nothing is counted."""

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
        ground_truths: objects to be found.
        tp: detections that are right, at the operating point and IoU 0.50.
        fp: detections that are wrong.
        fn: objects that are missed.
        f1: 2 tp / (2 tp + fp + fn); `None` when there was nothing to find and nothing was found.
        AP: AP of this image by itself, mean over IoU 0.50 to 0.95 and over the classes present in it; `None` for
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
    """Find the score threshold with the highest F1 at IoU 0.50; of equally good ones the highest."""
    objects = int(matches.truth_count.sum())
    order = np.argsort(-matches.score, kind="stable")
    scores = matches.score[order]
    tp = np.cumsum(matches.true_positives[0, order])
    fp = np.cumsum(matches.false_positives[0, order])
    # A threshold takes all detections of one score or none of them.
    last = np.flatnonzero(np.diff(scores, append=-np.inf)) if scores.size else np.zeros(0, dtype=np.int64)
    if not last.size or not objects or not tp[-1]:
        wrong = int(fp[-1]) if fp.size else 0
        found = 0.0 if objects else None
        return OperatingPoint(0.0, 0.0 if wrong else None, found, 0.0 if wrong or objects else None)
    f1 = 2 * tp[last] / (tp[last] + fp[last] + objects)
    best = last[int(np.argmax(f1))]
    return OperatingPoint(
        score=float(scores[best]),
        precision=float(tp[best] / (tp[best] + fp[best])),
        recall=float(tp[best] / objects),
        f1=float(f1.max()),
    )


def class_counts(matches: Matches, classes: int, score: float) -> list[ClassCounts]:
    """Counts of every class over the detections with at least `score`, at IoU 0.50."""
    taken = matches.score >= score
    tp = np.bincount(matches.detection_class[taken & matches.true_positives[0]], minlength=classes)
    fp = np.bincount(matches.detection_class[taken & matches.false_positives[0]], minlength=classes)
    objects = np.bincount(matches.truth_class, weights=matches.truth_count, minlength=classes).astype(np.int64)
    images = np.bincount(matches.truth_class, minlength=classes)
    return [
        ClassCounts(
            precision=float(tp[k] / (tp[k] + fp[k])) if tp[k] + fp[k] else None,
            recall=float(tp[k] / objects[k]) if objects[k] else None,
            ground_truths=int(objects[k]),
            images=int(images[k]),
        )
        for k in range(classes)
    ]


def image_metrics(matches: Matches, truth: GroundTruth, score: float) -> list[ImageMetrics]:
    """Numbers of every image of the ground truth, counting the detections with at least `score`."""
    count = len(matches.image_ids)
    taken = matches.score >= score
    tp = np.bincount(matches.detection_image[taken & matches.true_positives[0]], minlength=count)
    fp = np.bincount(matches.detection_image[taken & matches.false_positives[0]], minlength=count)
    objects = np.bincount(matches.truth_image, weights=matches.truth_count, minlength=count).astype(np.int64)
    precisions = _image_precisions(matches, count)
    result = []
    for i, file_name in enumerate(truth.file_names):
        fn = int(objects[i] - tp[i])
        whole = 2 * int(tp[i]) + int(fp[i]) + fn
        result.append(
            ImageMetrics(
                image_id=int(matches.image_ids[i]),
                file_name=file_name,
                ground_truths=int(objects[i]),
                tp=int(tp[i]),
                fp=int(fp[i]),
                fn=fn,
                f1=2 * int(tp[i]) / whole if whole else None,
                AP=precisions[i],
            )
        )
    return result


def _image_precisions(matches: Matches, images: int) -> list[float | None]:
    """AP of every image by itself, mean over IoU thresholds and the classes present; `None` without objects."""
    # Detections come sorted by class, then image, then falling score: those of one class and image are one run.
    run = matches.detection_class * images + matches.detection_image
    place = matches.truth_class * images + matches.truth_image
    group = np.minimum(np.searchsorted(place, run), max(len(place) - 1, 0))
    sought = place[group] == run if len(place) else np.zeros(len(run), bool)
    group, counted = group[sought], ~matches.ignored[:, sought]
    begins = np.searchsorted(group, np.arange(len(place)))
    total = np.zeros(len(place))
    for right, counts in zip(matches.true_positives[:, sought], counted, strict=True):
        before = np.cumsum(counts)
        up_to = before - np.concatenate([[0], before])[begins[group]]
        total += average_precisions(up_to[right], group[right], matches.truth_count)
    mean = total / len(counted)
    present = np.bincount(matches.truth_image, minlength=images)
    sums = np.bincount(matches.truth_image, weights=mean, minlength=images)
    return [float(sums[i] / present[i]) if present[i] else None for i in range(images)]
