"""What an evaluation measured: the numbers of the set, of every class and of every image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from codetr.evaluation.metrics.matching import IouType, Matching
from codetr.evaluation.metrics.operating_point import (
    ImageMetrics,
    Matches,
    OperatingPoint,
    class_counts,
    image_metrics,
    operating_point,
)
from codetr.evaluation.metrics.precision_recall import Curves, mean
from codetr.evaluation.tables.ground_truth import GroundTruth
from codetr.evaluation.tables.predictions import Predictions

# Positions among IoU thresholds and ranges of sizes.
ALL_AREAS, IOU50, IOU75 = 0, 0, 5
SIZES = {"s": 1, "m": 2, "l": 3}
SIZE_NAMES = ("small", "medium", "large")


@dataclass(frozen=True)
class ClassMetrics:
    """One class. `None` where there is nothing to measure: a class without ground truth has no AP.

    Attributes:
        category_id: id in the annotation file.
        name: class name.
        AP: average precision, mean over IoU 0.50 to 0.95.
        AP50: average precision at IoU 0.50.
        AP75: average precision at IoU 0.75.
        APs: average precision of small objects, mean over IoU 0.50 to 0.95.
        APm: of medium ones.
        APl: of large ones.
        AR: highest recall with all detections that count, mean over IoU 0.50 to 0.95.
        precision: share of detections that are right, at IoU 0.50 and the operating point.
        recall: share of objects that are found, at IoU 0.50 and the operating point.
        ground_truths: objects to be found (crowd regions do not count).
        small: how many of them are small; one on the edge of two ranges counts in both.
        medium: how many are medium.
        large: how many are large.
        images: images that hold at least one of them.
        detections: detections of this class in the predictions, whatever their score.
        frequency: "r", "c" or "f" in LVIS: rare, common or frequent in its training set.
    """

    category_id: int
    name: str
    AP: float | None
    AP50: float | None
    AP75: float | None
    APs: float | None
    APm: float | None
    APl: float | None
    AR: float | None
    precision: float | None
    recall: float | None
    ground_truths: int
    small: int
    medium: int
    large: int
    images: int
    detections: int
    frequency: str | None = None


@dataclass(frozen=True)
class Metrics:
    """What an evaluation measured.

    Attributes:
        iou_type: boxes or masks.
        federated: measured by LVIS's rules, else by COCO's.
        summary: the numbers of COCO (12) or LVIS (13) by name, `None` where their programs say -1 (nothing to measure).
        recall_name: name in the summary of the recall with all detections that count.
        classes: one entry per category, in the order of their ids.
        images: one entry per image, in the order of their ids.
        precision: (IoU thresholds 10, recall thresholds 101, classes) interpolated precision; NaN for classes
            without ground truth.
        operating_point: the score threshold with the highest F1 at IoU 0.50, to which counts of single
            detections refer.
        matches: every detection with whether it is right, from which the rest can be computed again.
        matching: who found whom, which mistakes are explained by.
    """

    iou_type: IouType
    federated: bool
    summary: dict[str, float | None]
    recall_name: str
    classes: list[ClassMetrics]
    images: list[ImageMetrics]
    precision: NDArray[np.float64]
    operating_point: OperatingPoint
    matches: Matches
    matching: Matching

    @property
    def flat(self) -> dict[str, float | int | None]:
        """The headline as one flat mapping: the numbers of the summary, counts and the operating point."""
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


def describe(
    truth: GroundTruth,
    predictions: Predictions,
    matching: Matching,
    curves: Curves,
    *,
    iou_type: IouType,
    federated: bool,
    summary: dict[str, float | None],
    recall_name: str,
) -> Metrics:
    """Numbers of classes and images beside a summary that is already computed.

    Args:
        truth: what was measured against.
        predictions: what was measured.
        matching: who found whom.
        curves: precision and recall of every class.
        iou_type: boxes or masks.
        federated: see `Metrics`.
        summary: see `Metrics`.
        recall_name: see `Metrics`.
    """
    matches = Matches.of(matching, truth)
    point = operating_point(matches)
    precision, recall = curves.precision[..., ALL_AREAS], curves.recall[..., ALL_AREAS]
    classes = len(truth.category_ids)
    detections = np.bincount(predictions.label[predictions.label >= 0], minlength=classes)
    counts = class_counts(matches, classes, point.score)
    return Metrics(
        iou_type=iou_type,
        federated=federated,
        summary=summary,
        recall_name=recall_name,
        classes=[
            ClassMetrics(
                category_id=category_id,
                name=truth.names[k],
                AP=mean(precision[:, :, k]),
                AP50=mean(precision[IOU50, :, k]),
                AP75=mean(precision[IOU75, :, k]),
                APs=mean(curves.precision[:, :, k, SIZES["s"]]),
                APm=mean(curves.precision[:, :, k, SIZES["m"]]),
                APl=mean(curves.precision[:, :, k, SIZES["l"]]),
                AR=mean(recall[:, k]),
                precision=counts[k].precision,
                recall=counts[k].recall,
                ground_truths=counts[k].ground_truths,
                small=int(curves.objects[k, SIZES["s"]]),
                medium=int(curves.objects[k, SIZES["m"]]),
                large=int(curves.objects[k, SIZES["l"]]),
                images=counts[k].images,
                detections=int(detections[k]),
                frequency=truth.frequency[k],
            )
            for k, category_id in enumerate(truth.category_ids.tolist())
        ],
        images=image_metrics(matches, truth, point.score),
        precision=np.where(precision < 0, np.nan, precision),
        operating_point=point,
        matches=matches,
        matching=matching,
    )
