"""The metrics of an evaluation: of the set, of every class and of every image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from codetr.evaluation.metrics.matching import IouType, Matching
from codetr.evaluation.metrics.metric_spec import ALL_AREAS, AREAS, IOU50, IOU75, MetricSpec, MetricTable, metric_name
from codetr.evaluation.metrics.operating_point import (
    ImageMetrics,
    OperatingPoint,
    class_counts,
    image_metrics,
    operating_point,
)
from codetr.evaluation.metrics.precision_recall import Curves, mean, precision_recall_curves, recall_within
from codetr.evaluation.metrics.true_positives import Matches
from codetr.evaluation.tables.ground_truth import GroundTruth
from codetr.evaluation.tables.predictions import PredictionTable

_SMALL, _MEDIUM, _LARGE = (AREAS.index(area) for area in ("small", "medium", "large"))


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
        AR: highest recall with all detections that take part, mean over IoU 0.50 to 0.95.
        precision: TP / (TP + FP), at IoU 0.50 and the operating point.
        recall: TP / objects, at IoU 0.50 and the operating point.
        ground_truths: objects that count (crowd regions do not).
        small: how many of them are small; one on the edge of two ranges counts in both.
        medium: how many are medium.
        large: how many are large.
        images: images with at least one of them.
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
    """The metrics of boxes or of masks.

    Attributes:
        iou_type: boxes or masks.
        federated: computed by LVIS's rules, else by COCO's.
        specs: what the numbers of `summary` are means over, by name.
        summary: the numbers of COCO (12) or LVIS (13) by name, `None` where the reference programs print -1 (nothing to
            measure).
        classes: one entry per category, in the order of their ids.
        images: one entry per image, in the order of their ids.
        precision: (IoU thresholds 10, recall thresholds 101, classes) interpolated precision; NaN for classes
            without ground truth.
        operating_point: the score threshold with the highest F1 at IoU 0.50, at which single detections are counted.
        matches: true and false positives, which everything else is computed from.
        matching: matches for every area range and IoU threshold.
    """

    iou_type: IouType
    federated: bool
    specs: MetricTable
    summary: dict[str, float | None]
    classes: list[ClassMetrics]
    images: list[ImageMetrics]
    precision: NDArray[np.float64]
    operating_point: OperatingPoint
    matches: Matches
    matching: Matching

    @property
    def recall_name(self) -> str:
        """Name in the summary of the recall with all detections that take part."""
        return metric_name(self.specs, "AR")

    @property
    def flat(self) -> dict[str, float | int | None]:
        """The numbers of the summary, counts and the operating point as one flat mapping."""
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


def compute_metrics(
    truth: GroundTruth,
    predictions: PredictionTable,
    matching: Matching,
    specs: MetricTable,
    *,
    iou_type: IouType,
    federated: bool,
) -> Metrics:
    """Compute all metrics from a matching.

    Args:
        truth: ground truth.
        predictions: detections.
        matching: their matches.
        specs: the metrics of the summary.
        iou_type: boxes or masks.
        federated: see `Metrics`.
    """
    classes = len(truth.category_ids)
    curves = precision_recall_curves(matching, truth.label[matching.gt_index], classes)
    matches = Matches.of(matching, truth)
    point = operating_point(matches)
    precision, recall = curves.precision[..., ALL_AREAS], curves.recall[..., ALL_AREAS]
    detections = np.bincount(predictions.label[predictions.label >= 0], minlength=classes)
    counts = class_counts(matches, classes, point.score)
    return Metrics(
        iou_type=iou_type,
        federated=federated,
        specs=specs,
        summary=_summary(specs, curves, matching, truth.frequency),
        classes=[
            ClassMetrics(
                category_id=category_id,
                name=truth.names[k],
                AP=mean(precision[:, :, k]),
                AP50=mean(precision[IOU50, :, k]),
                AP75=mean(precision[IOU75, :, k]),
                APs=mean(curves.precision[:, :, k, _SMALL]),
                APm=mean(curves.precision[:, :, k, _MEDIUM]),
                APl=mean(curves.precision[:, :, k, _LARGE]),
                AR=mean(recall[:, k]),
                precision=counts[k].precision,
                recall=counts[k].recall,
                ground_truths=counts[k].ground_truths,
                small=int(curves.objects[k, _SMALL]),
                medium=int(curves.objects[k, _MEDIUM]),
                large=int(curves.objects[k, _LARGE]),
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


def _summary(
    specs: MetricTable, curves: Curves, matching: Matching, frequency: tuple[str | None, ...]
) -> dict[str, float | None]:
    """Return the value of every metric."""
    max_dets = specs[metric_name(specs, "AR")].max_dets

    def value(spec: MetricSpec) -> float | None:
        labels: slice | list[int] = slice(None)
        if spec.group is not None:
            labels = [k for k, group in enumerate(frequency) if group == spec.group]
        if spec.kind == "AP":
            return mean(curves.precision[spec.thresholds][..., labels, spec.area_range])
        if spec.max_dets is not None and spec.max_dets != max_dets:
            return mean(recall_within(matching, curves.objects[:, ALL_AREAS], spec.max_dets))
        return mean(curves.recall[spec.thresholds][..., labels, spec.area_range])

    return {name: value(spec) for name, spec in specs.items()}
