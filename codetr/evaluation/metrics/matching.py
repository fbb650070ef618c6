"""Match detections with ground truth by the rules of COCO and LVIS, for all images at once.

Both reference programs (pycocotools; Gupta, Dollár and Girshick, "LVIS", CVPR 2019, with the package `lvis`) match
greedily: within a class of an image, detections choose in order of falling score, each the free object with the
highest IoU, for ten IoU thresholds and four ranges of object areas. Matches in one class of one image do not depend on
any other, so here all first detections choose together, then all second ones, and so on: a hundred rounds of array
operations instead of millions of small loops, with the same choices.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from codetr.evaluation.metrics.iou import Pairs, overlapping_boxes, overlapping_masks
from codetr.evaluation.tables.ground_truth import GroundTruth, positions
from codetr.evaluation.tables.predictions import PredictionTable

IouType = Literal["bbox", "segm"]

IOU_THRESHOLDS: NDArray[np.float64] = np.linspace(0.5, 0.95, 10)
AREA_RANGES: NDArray[np.float64] = np.array([(0, 1e5**2), (0, 32**2), (32**2, 96**2), (96**2, 1e5**2)])
"""Square pixels, both ends included: all, small, medium, large."""

MAX_PAIRS = 1 << 16
"""Pairs that are compared together; each takes as many values as there are thresholds and ranges."""


@dataclass(frozen=True)
class Rules:
    """Where the rules of COCO and LVIS differ.

    Attributes:
        per_class: most detections of one class in one image, or None.
        per_image: most detections of one image, whatever their classes, or None.
        federated: detections take part only where their class is verified to be present or absent in the image, and
            false positives count only where all objects of the class are annotated. There are no crowd regions;
            objects and detections without an area do not take part.
    """

    per_class: int | None = None
    per_image: int | None = None
    federated: bool = False


@dataclass(frozen=True)
class Matching:
    """Matches between detections and ground truth, for every area range and IoU threshold.

    Detections are those that take part, by class, then image, then falling score. There are D detections, G objects and
    C candidates.

    Attributes:
        dt_index: (D,) index of each detection in the predictions.
        image: (D,) its image.
        label: (D,) its class.
        score: (D,).
        rank: (D,) 0 for the best of its class in its image.
        dt_ignore: (areas, D) bool: ignored if it matches nothing. A detection with a match is ignored if that is.
        candidates: (C,) the detections that overlap an object enough to match it at the lowest threshold, ascending.
        dt_matches: (areas, thresholds, C) position among the G objects of the match of each candidate, -1 for none.
        gt_index: (G,) index in the ground truth of each object that takes part, by class, then image.
        gt_ignore: (areas, G) bool: does not count, nor does a detection that matches it.
    """

    dt_index: NDArray[np.int64]
    image: NDArray[np.int64]
    label: NDArray[np.int64]
    score: NDArray[np.float64]
    rank: NDArray[np.int64]
    dt_ignore: NDArray[np.bool_]
    candidates: NDArray[np.int64]
    dt_matches: NDArray[np.int32]
    gt_index: NDArray[np.int64]
    gt_ignore: NDArray[np.bool_]


def match(
    truth: GroundTruth, predictions: PredictionTable, rules: Rules, iou_type: IouType, *, max_pairs: int = MAX_PAIRS
) -> Matching:
    """Match detections with objects by box or by mask.

    Args:
        truth: ground truth.
        predictions: detections.
        rules: those of COCO or LVIS.
        iou_type: compare boxes ("bbox") or masks ("segm").
        max_pairs: pairs that are compared together, which bounds the memory.
    """
    images, classes = len(truth.image_ids), len(truth.category_ids)
    mask_scores = predictions.mask_score if iou_type == "segm" else None
    scores = predictions.score if mask_scores is None else mask_scores
    gt_index = np.flatnonzero(truth.area > 0) if rules.federated else np.arange(len(truth.area))
    dt_index, area = _participants(truth, gt_index, predictions, scores, rules, iou_type)
    group = predictions.label[dt_index] * images + predictions.image[dt_index]

    low, high = AREA_RANGES[:, :1], AREA_RANGES[:, 1:]
    dt_ignore = (area < low) | (area > high)
    if rules.federated:
        keys = predictions.image[dt_index] * classes + predictions.label[dt_index]
        dt_ignore |= positions(keys, truth.not_exhaustive) >= 0
    gt_index = gt_index[np.argsort(truth.label[gt_index] * images + truth.image[gt_index], kind="stable")]
    iscrowd = np.zeros(len(gt_index), bool) if rules.federated else truth.iscrowd[gt_index]
    gt_ignore = (truth.area[gt_index] < low) | (truth.area[gt_index] > high)
    gt_ignore |= truth.ignore[gt_index] if rules.federated else iscrowd

    gt_group = truth.label[gt_index] * images + truth.image[gt_index]
    first, last = (np.searchsorted(gt_group, group, side=side) for side in ("left", "right"))
    lowest = float(IOU_THRESHOLDS[0])
    if iou_type == "segm":
        pairs = overlapping_masks(
            predictions.segmentations or (),
            dt_index,
            truth.segmentations,
            gt_index,
            truth.sizes[truth.image[gt_index]],
            iscrowd,
            first,
            last,
            lowest,
        )
    else:
        boxes_xywh = predictions.boxes()[dt_index]
        pairs = overlapping_boxes(
            boxes_xywh, truth.boxes_xywh[gt_index], iscrowd, first, last, lowest, max_pairs=16 * max_pairs
        )
    candidates, dt_matches = _choose(pairs, group, gt_ignore, iscrowd, max_pairs)
    return Matching(
        dt_index=dt_index,
        image=predictions.image[dt_index],
        label=predictions.label[dt_index],
        score=scores[dt_index],
        rank=_ranks(group),
        dt_ignore=dt_ignore,
        candidates=candidates,
        dt_matches=dt_matches,
        gt_index=gt_index,
        gt_ignore=gt_ignore,
    )


def _participants(
    truth: GroundTruth,
    gt_index: NDArray[np.int64],
    predictions: PredictionTable,
    scores: NDArray[np.float64],
    rules: Rules,
    iou_type: IouType,
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the indices of the detections that take part, by class, image and falling score, and their areas."""
    images, classes = len(truth.image_ids), len(truth.category_ids)
    takes_part = predictions.label >= 0
    if rules.per_image is not None:
        # The limit comes first: detections that will be dropped count towards it.
        order = np.lexsort((-scores, predictions.image))
        takes_part[order[_ranks(predictions.image[order]) >= rules.per_image]] = False
    dt_index = np.flatnonzero(takes_part)
    if rules.federated:
        present = truth.image[gt_index] * classes + truth.label[gt_index]
        verified = np.union1d(truth.negative, present)
        keys = predictions.image[dt_index] * classes + predictions.label[dt_index]
        dt_index = dt_index[positions(keys, verified) >= 0]
    group = predictions.label[dt_index] * images + predictions.image[dt_index]
    order = np.lexsort((-scores[dt_index], group))
    dt_index = dt_index[order]
    if rules.per_class is not None:
        dt_index = dt_index[_ranks(group[order]) < rules.per_class]
    area = predictions.area(iou_type, dt_index)
    return (dt_index[area > 0], area[area > 0]) if rules.federated else (dt_index, area)


def _choose(
    pairs: Pairs, group: NDArray[np.int64], gt_ignore: NDArray[np.bool_], iscrowd: NDArray[np.bool_], max_pairs: int
) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Let detections choose, by rank within their class and image.

    Args:
        pairs: detections and objects that overlap.
        group: (D,) class and image of each detection.
        gt_ignore: see `Matching`.
        iscrowd: (G,) bool: any number of detections may match the object.
        max_pairs: pairs that are compared together.

    Returns:
        `candidates` and `dt_matches` of `Matching`.
    """
    detection, gt, iou = pairs
    # The best object of a detection is its last: the highest IoU, and of equal ones the later object.
    order = np.lexsort((gt, iou, detection))
    detection, gt, iou = detection[order], gt[order], iou[order]
    begins = np.flatnonzero(np.diff(detection, prepend=-1))
    counts = np.diff(begins, append=len(detection))
    candidates = detection[begins]
    rounds = _ranks(group[candidates])
    areas, thresholds = len(AREA_RANGES), len(IOU_THRESHOLDS)
    dt_matches = np.full((areas, thresholds, len(candidates)), -1, np.int32)
    matched = np.zeros((gt_ignore.shape[1], areas, thresholds), bool)
    preferred = np.ascontiguousarray(~gt_ignore.T)  # objects that count, however small the IoU
    by_round = np.argsort(rounds, kind="stable")
    for turn in _turns(rounds[by_round], counts[by_round], max_pairs):
        choosers = by_round[turn]
        pair_counts = counts[choosers]
        starts = np.cumsum(pair_counts) - pair_counts
        position = np.arange(int(pair_counts.sum())) - np.repeat(starts, pair_counts)
        rows = position + np.repeat(begins[choosers], pair_counts)
        objects = gt[rows]
        free = ~matched[objects] | iscrowd[objects, None, None]
        free &= (iou[rows, None] >= IOU_THRESHOLDS)[:, None, :]
        # Objects that count come before ignored ones; of equals the last position wins.
        value = (position + 1)[:, None] + preferred[objects] * (1 << 30)
        best = np.where(free, value.astype(np.int32)[:, :, None], np.int32(0))
        if len(best) > len(choosers):
            best = np.maximum.reduceat(best, starts, axis=0)
        chooser, area, threshold = np.nonzero(best)
        picked = objects[starts[chooser] + (best[chooser, area, threshold] & ((1 << 30) - 1)) - 1]
        matched[picked, area, threshold] = True
        dt_matches[area, threshold, choosers[chooser]] = picked
    return candidates, dt_matches


def _turns(rounds: NDArray[np.int64], counts: NDArray[np.int64], max_pairs: int) -> list[slice]:
    """Cut candidates, sorted by round, into slices of one round and at most `max_pairs` pairs each."""
    ends = np.cumsum(counts)
    slices = []
    start = 0
    while start < len(rounds):
        done = int(ends[start - 1]) if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, done + max_pairs, side="right")))
        stop = min(stop, int(np.searchsorted(rounds, rounds[start], side="right")))
        slices.append(slice(start, stop))
        start = stop
    return slices


def _ranks(groups: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the position of every entry within its run of equal values."""
    begins = np.flatnonzero(np.diff(groups, prepend=-1))
    return np.arange(len(groups)) - np.repeat(begins, np.diff(begins, append=len(groups)))
