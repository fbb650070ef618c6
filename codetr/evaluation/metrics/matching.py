"""Which detection finds which object: COCO's and LVIS's rules, for all images at once.

Both programs (pycocotools; Gupta, Dollár and Girshick, "LVIS", CVPR 2019, with the package `lvis`) match greedily:
within a class of an image, detections choose in order of falling score, each the free object it overlaps most, and do
so for ten overlaps and four ranges of object sizes. What happens in one class of one image does not touch any other,
so here all first detections choose together, then all second ones, and so on: a hundred rounds of array operations
instead of millions of small loops, with the same choices.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from codetr.evaluation.metrics.iou import Pairs, overlapping_boxes, overlapping_masks
from codetr.evaluation.tables.ground_truth import GroundTruth
from codetr.evaluation.tables.predictions import Predictions

IouType = Literal["bbox", "segm"]

IOU_THRESHOLDS: NDArray[np.float64] = np.linspace(0.5, 0.95, 10)
AREA_RANGES: NDArray[np.float64] = np.array([(0, 1e5**2), (0, 32**2), (32**2, 96**2), (96**2, 1e5**2)])
"""Square pixels, both ends included: all, small, medium, large."""

_BLOCK = 1 << 16
"""Pairs that are looked at together; for each there are as many values as thresholds and ranges."""


@dataclass(frozen=True)
class Rules:
    """Where the programs differ.

    Attributes:
        per_class: most detections of one class in one image, or None.
        per_image: most detections of one image, whatever their classes, or None.
        federated: detections count only where their class is verified to be present or absent in the image, those
            that are wrong only where all its objects are annotated. There are no crowd regions; objects and
            detections without an area do not count.
    """

    per_class: int | None = None
    per_image: int | None = None
    federated: bool = False


@dataclass(frozen=True)
class Matching:
    """Who found whom. Detections are those that take part, by class, then image, then falling score.

    Attributes:
        detection: (detections,) position in the predictions.
        image: (detections,).
        label: (detections,).
        score: (detections,).
        rank: (detections,) 0 for the best of its class in its image.
        uncounted: (ranges, detections) bool: if it finds nothing, this is not held against it.
        candidates: (candidates,) the detections that overlap an object enough, ascending.
        found: (ranges, thresholds, candidates) the object that each of them finds, or -1.
        objects: (objects,) position in the ground truth of those that take part, by class, then image.
        skipped: (ranges, objects) bool: not to be found, and whoever does find it does not count.
    """

    detection: NDArray[np.int64]
    image: NDArray[np.int64]
    label: NDArray[np.int64]
    score: NDArray[np.float64]
    rank: NDArray[np.int64]
    uncounted: NDArray[np.bool_]
    candidates: NDArray[np.int64]
    found: NDArray[np.int32]
    objects: NDArray[np.int64]
    skipped: NDArray[np.bool_]


def match(truth: GroundTruth, predictions: Predictions, rules: Rules, iou_type: IouType) -> Matching:
    """Match detections with objects by box or by mask."""
    images, classes = len(truth.image_ids), len(truth.category_ids)
    own = predictions.mask_score if iou_type == "segm" else None
    scores = predictions.score if own is None else own
    objects = np.flatnonzero(truth.area > 0) if rules.federated else np.arange(len(truth.area))
    chosen, area = _participants(truth, objects, predictions, scores, rules, iou_type)
    group = predictions.label[chosen] * images + predictions.image[chosen]

    low, high = AREA_RANGES[:, :1], AREA_RANGES[:, 1:]
    uncounted = (area < low) | (area > high)
    if rules.federated:
        keys = predictions.image[chosen] * classes + predictions.label[chosen]
        uncounted |= _member(keys, truth.not_exhaustive)
    objects = objects[np.argsort(truth.label[objects] * images + truth.image[objects], kind="stable")]
    crowd = np.zeros(len(objects), bool) if rules.federated else truth.crowd[objects]
    skipped = (truth.area[objects] < low) | (truth.area[objects] > high)
    skipped |= truth.ignored[objects] if rules.federated else crowd

    places = truth.label[objects] * images + truth.image[objects]
    first, last = (np.searchsorted(places, group, side=side) for side in ("left", "right"))
    least = float(IOU_THRESHOLDS[0])
    if iou_type == "segm":
        pairs = overlapping_masks(
            predictions.segmentations or (),
            chosen,
            truth.segmentations,
            objects,
            truth.sizes[truth.image[objects]],
            crowd,
            first,
            last,
            least,
        )
    else:
        boxes = predictions.boxes()[chosen]
        pairs = overlapping_boxes(boxes, truth.boxes_xywh[objects], crowd, first, last, least)
    candidates, found = _choose(pairs, group, skipped, crowd)
    return Matching(
        detection=chosen,
        image=predictions.image[chosen],
        label=predictions.label[chosen],
        score=scores[chosen],
        rank=_ranks(group),
        uncounted=uncounted,
        candidates=candidates,
        found=found,
        objects=objects,
        skipped=skipped,
    )


def _participants(
    truth: GroundTruth,
    objects: NDArray[np.int64],
    predictions: Predictions,
    scores: NDArray[np.float64],
    rules: Rules,
    iou_type: IouType,
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Positions of the detections that take part, by class, then image, then falling score; and their areas."""
    images, classes = len(truth.image_ids), len(truth.category_ids)
    listed = predictions.label >= 0
    if rules.per_image is not None:
        # The limit comes first: detections that will not count take up places too.
        order = np.lexsort((-scores, predictions.image))
        listed[order[_ranks(predictions.image[order]) >= rules.per_image]] = False
    chosen = np.flatnonzero(listed)
    if rules.federated:
        present = truth.image[objects] * classes + truth.label[objects]
        verified = np.union1d(truth.negative, present)
        chosen = chosen[_member(predictions.image[chosen] * classes + predictions.label[chosen], verified)]
    group = predictions.label[chosen] * images + predictions.image[chosen]
    order = np.lexsort((-scores[chosen], group))
    chosen = chosen[order]
    if rules.per_class is not None:
        chosen = chosen[_ranks(group[order]) < rules.per_class]
    area = predictions.area(iou_type, chosen)
    return (chosen[area > 0], area[area > 0]) if rules.federated else (chosen, area)


def _choose(
    pairs: Pairs, group: NDArray[np.int64], skipped: NDArray[np.bool_], shared: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Let detections choose, by rank within their class and image.

    Args:
        pairs: detections and objects that overlap.
        group: (detections,) class and image of each.
        skipped: see `Matching`.
        shared: (objects,) those that any number of detections may find.

    Returns:
        `candidates` and `found` of `Matching`.
    """
    detection, thing, overlap = pairs
    # The best object of a detection is its last: the greatest overlap, and of equal ones the later object.
    order = np.lexsort((thing, overlap, detection))
    detection, thing, overlap = detection[order], thing[order], overlap[order]
    begins = np.flatnonzero(np.diff(detection, prepend=-1))
    counts = np.diff(begins, append=len(detection))
    candidates = detection[begins]
    rounds = _ranks(group[candidates])
    ranges, thresholds = len(AREA_RANGES), len(IOU_THRESHOLDS)
    found = np.full((ranges, thresholds, len(candidates)), -1, np.int32)
    taken = np.zeros((skipped.shape[1], ranges, thresholds), bool)
    wanted = np.ascontiguousarray(~skipped.T)  # preferred, however small the overlap
    turn = np.argsort(rounds, kind="stable")
    for now in _turns(rounds[turn], counts[turn]):
        choosers = turn[now]
        many = counts[choosers]
        starts = np.cumsum(many) - many
        place = np.arange(int(many.sum())) - np.repeat(starts, many)
        rows = place + np.repeat(begins[choosers], many)
        things = thing[rows]
        free = ~taken[things] | shared[things, None, None]
        free &= (overlap[rows, None] >= IOU_THRESHOLDS)[:, None, :]
        # Objects that count come before those that do not, then the last place wins.
        value = (place + 1)[:, None] + wanted[things] * (1 << 30)
        best = np.where(free, value.astype(np.int32)[:, :, None], np.int32(0))
        if len(best) > len(choosers):
            best = np.maximum.reduceat(best, starts, axis=0)
        who, area, threshold = np.nonzero(best)
        picked = things[starts[who] + (best[who, area, threshold] & ((1 << 30) - 1)) - 1]
        taken[picked, area, threshold] = True
        found[area, threshold, choosers[who]] = picked
    return candidates, found


def _turns(rounds: NDArray[np.int64], counts: NDArray[np.int64]) -> list[slice]:
    """Cut candidates, sorted by round, into slices of one round and not too many pairs each."""
    ends = np.cumsum(counts)
    slices = []
    start = 0
    while start < len(rounds):
        done = int(ends[start - 1]) if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, done + _BLOCK, side="right")))
        stop = min(stop, int(np.searchsorted(rounds, rounds[start], side="right")))
        slices.append(slice(start, stop))
        start = stop
    return slices


def _ranks(groups: NDArray[np.int64]) -> NDArray[np.int64]:
    """Position of every entry within its run of equal values."""
    begins = np.flatnonzero(np.diff(groups, prepend=-1))
    return np.arange(len(groups)) - np.repeat(begins, np.diff(begins, append=len(groups)))


def _member(keys: NDArray[np.int64], known: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether each key is in the ascending `known`."""
    if not len(known):
        return np.zeros(len(keys), bool)
    return known[np.minimum(np.searchsorted(known, keys), len(known) - 1)] == keys
