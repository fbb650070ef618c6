"""Matches of a detector without scores and boxes: all that the metrics of any selection of images need.

The metrics of a set in which images are left out or occur several times, such as a bootstrap sample, follow from the
matches: those in one image do not depend on any other. This is the part of a matching that they follow from.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import msgspec
import numpy as np
from numpy.typing import NDArray

from codetr.core.array_files import ArraySpec, as_user_error, read_arrays, write_arrays
from codetr.data.lvis import FREQUENCIES
from codetr.evaluation.metrics.matching import AREA_RANGES, IOU_THRESHOLDS, Matching
from codetr.evaluation.tables.ground_truth import GroundTruth, positions

MATCHES, MASK_MATCHES = "matches.safetensors", "mask_matches.safetensors"
"""Their files in the folder of an evaluation."""

MAX_RANK = 10
"""AR1 and AR10 need ranks up to here."""

MAX_BYTES = 1 << 30
"""Of the unpacked bits of one file. Those of LVIS's validation set, with six million detections, take 140 MB."""

_INDICES = ("label", "image", "candidates", "gt_label", "gt_image")
_PER_AREA = {"dt_counts": "label", "gt_counts": "gt_label"}
_PER_THRESHOLD = {"tp": "candidates", "matched_ignored": "candidates"}
"""Arrays that are written as bits, by area range or by area range and threshold, and the array of the same length."""

_SPECS = {
    "classes": ArraySpec(np.uint8),
    "image_ids": ArraySpec(np.int64),
    "category_ids": ArraySpec(np.int64),
    "rank": ArraySpec(np.uint8),
    **dict.fromkeys(_INDICES, ArraySpec(np.int32)),
    **dict.fromkeys(_PER_AREA, ArraySpec(np.uint8, ndim=2)),
    **dict.fromkeys(_PER_THRESHOLD, ArraySpec(np.uint8, ndim=3)),
}


class _Classes(msgspec.Struct, forbid_unknown_fields=True):
    """What is written as JSON text: safetensors has no arrays of text."""

    names: tuple[str, ...]
    frequency: tuple[str | None, ...]
    federated: bool


@dataclass(frozen=True)
class MatchTable:
    """Detections by class and, within a class, in the order of their ranking. Classes and images are positions.

    Attributes:
        image_ids: (images,) ascending.
        category_ids: (classes,) ascending.
        names: of the classes.
        frequency: of every class one of `FREQUENCIES` or None; None for all where LVIS's rules do not apply.
        federated: whether LVIS's rules apply.
        label: (detections,) non-decreasing.
        image: (detections,).
        dt_counts: (areas, detections) bool: a false positive if it matches nothing.
        candidates: (candidates,) ascending positions of the detections that can match something.
        tp: (areas, thresholds, candidates) bool: matches an object that counts.
        matched_ignored: (areas, thresholds, candidates) bool: matches an ignored object, and is ignored itself.
        rank: (candidates,) 0 for the best of its class in its image, `MAX_RANK` for all beyond.
        gt_label: (objects,) non-decreasing.
        gt_image: (objects,).
        gt_counts: (areas, objects) bool: not ignored.
    """

    image_ids: NDArray[np.int64]
    category_ids: NDArray[np.int64]
    names: tuple[str, ...]
    frequency: tuple[str | None, ...]
    federated: bool
    label: NDArray[np.int64]
    image: NDArray[np.int64]
    dt_counts: NDArray[np.bool_]
    candidates: NDArray[np.int64]
    tp: NDArray[np.bool_]
    matched_ignored: NDArray[np.bool_]
    rank: NDArray[np.int64]
    gt_label: NDArray[np.int64]
    gt_image: NDArray[np.int64]
    gt_counts: NDArray[np.bool_]

    @classmethod
    def of(cls, matching: Matching, truth: GroundTruth) -> Self:
        """Return the table of a matching and its ground truth."""
        order = np.lexsort((-matching.score, matching.label))
        ranking = np.empty_like(order)
        ranking[order] = np.arange(len(order))
        candidates = ranking[matching.candidates]
        by_ranking = np.argsort(candidates)
        dt_matches = matching.dt_matches[..., by_ranking]
        matched_ignored = np.zeros(dt_matches.shape, bool)
        for gt_ignore, row, matches in zip(matching.gt_ignore, matched_ignored, dt_matches, strict=True):
            row[matches >= 0] = gt_ignore[matches[matches >= 0]]
        return cls(
            image_ids=truth.image_ids,
            category_ids=truth.category_ids,
            names=tuple(truth.names),
            frequency=truth.frequency if truth.federated else (None,) * len(truth.category_ids),
            federated=truth.federated,
            label=matching.label[order],
            image=matching.image[order],
            dt_counts=~matching.dt_ignore[:, order],
            candidates=candidates[by_ranking],
            tp=(dt_matches >= 0) & ~matched_ignored,
            matched_ignored=matched_ignored,
            rank=np.minimum(matching.rank[matching.candidates[by_ranking]], MAX_RANK),
            gt_label=truth.label[matching.gt_index],
            gt_image=truth.image[matching.gt_index],
            gt_counts=~matching.gt_ignore,
        )

    def write(self, path: Path) -> None:
        """Write the table, atomically; equal tables give equal bytes."""
        classes = msgspec.json.encode(_Classes(self.names, self.frequency, self.federated))
        arrays: dict[str, NDArray[Any]] = {
            "classes": np.frombuffer(classes, np.uint8),
            "image_ids": self.image_ids,
            "category_ids": self.category_ids,
            "rank": self.rank.astype(np.uint8),
        }
        arrays |= {name: getattr(self, name).astype(np.int32) for name in _INDICES}
        arrays |= {name: np.packbits(getattr(self, name), axis=-1) for name in (*_PER_AREA, *_PER_THRESHOLD)}
        write_arrays(path, arrays)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read what `write` wrote.

        Raises:
            UserError: there is no such file, or its content is not a valid table.
        """
        hint = "It is damaged or was written by another version; run `codetr evaluate` again."
        with as_user_error(path, hint):
            table = cls._of_arrays(read_arrays(path, _SPECS, hint=hint))
            table._require_valid()
        return table

    @classmethod
    def _of_arrays(cls, arrays: dict[str, NDArray[Any]]) -> Self:
        areas, thresholds = len(AREA_RANGES), len(IOU_THRESHOLDS)
        size = 8 * sum(arrays[name].size for name in (*_PER_AREA, *_PER_THRESHOLD))
        if size > MAX_BYTES:
            raise ValueError(f"unpacked, its bits take {size} bytes, more than the {MAX_BYTES} that are allowed")
        bits: dict[str, Any] = {}
        for lengths, shape in ((_PER_AREA, (areas,)), (_PER_THRESHOLD, (areas, thresholds))):
            for name, of in lengths.items():
                packed, length = arrays[name], len(arrays[of])
                if packed.shape != (*shape, -(-length // 8)):
                    raise ValueError(f"'{name}' is an array {packed.shape}, which does not fit '{of}'")
                bits[name] = np.unpackbits(packed, axis=-1, count=length).view(bool)
        classes = msgspec.json.decode(arrays["classes"].tobytes(), type=_Classes)
        integers: dict[str, Any] = {name: arrays[name].astype(np.int64) for name in (*_INDICES, "rank")}
        return cls(
            image_ids=arrays["image_ids"],
            category_ids=arrays["category_ids"],
            names=classes.names,
            frequency=classes.frequency,
            federated=classes.federated,
            **integers,
            **bits,
        )

    def _require_valid(self) -> None:
        """Raise `ValueError` unless all arrays are as documented above, so that nothing fails or misleads later."""
        images, classes = len(self.image_ids), len(self.category_ids)
        groups = (None, *FREQUENCIES) if self.federated else (None,)
        valid = {
            "image_ids": _ascending(self.image_ids),
            "category_ids": _ascending(self.category_ids),
            "names": len(self.names) == classes,
            "frequency": len(self.frequency) == classes and all(group in groups for group in self.frequency),
            "label": _within(self.label, classes) and bool((self.label[1:] >= self.label[:-1]).all()),
            "image": len(self.image) == len(self.label) and _within(self.image, images),
            "candidates": _within(self.candidates, len(self.label)) and _ascending(self.candidates),
            "rank": len(self.rank) == len(self.candidates) and _within(self.rank, MAX_RANK + 1),
            "tp": not bool((self.tp & self.matched_ignored).any()),
            "gt_label": _within(self.gt_label, classes) and bool((self.gt_label[1:] >= self.gt_label[:-1]).all()),
            "gt_image": len(self.gt_image) == len(self.gt_label) and _within(self.gt_image, images),
        }
        for name, is_valid in valid.items():
            if not is_valid:
                raise ValueError(f"the values of '{name}' are not valid or do not fit the others")
        if not self._matched_once():
            raise ValueError("in an image more objects of a class are matched than there are")

    def _matched_once(self) -> bool:
        images = len(self.image_ids)
        groups, gt_group = np.unique(self.gt_label * images + self.gt_image, return_inverse=True)
        group = positions(self.label[self.candidates] * images + self.image[self.candidates], groups)
        for gt_counts, true_positives in zip(self.gt_counts, self.tp, strict=True):
            objects = np.bincount(gt_group[gt_counts], minlength=len(groups))
            for tp in true_positives:
                matched = group[tp]
                if (matched < 0).any() or (np.bincount(matched, minlength=len(groups)) > objects).any():
                    return False
        return True


def _within(values: NDArray[np.int64], count: int) -> bool:
    return not len(values) or bool(values.min() >= 0 and values.max() < count)


def _ascending(values: NDArray[np.int64]) -> bool:
    """Return whether values ascend without repetition."""
    return bool((values[1:] > values[:-1]).all())
