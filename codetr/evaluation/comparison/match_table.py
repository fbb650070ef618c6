"""What became of every detection, without scores and boxes: all that the metrics of any selection of images need.

The metrics of a set in which images are left out or occur several times, such as a bootstrap's, follow from who found
whom: what happens in one image does not touch another. This is the part of a matching that they follow from.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import msgspec
import numpy as np
from numpy.typing import NDArray

from codetr.core.files import atomic_file
from codetr.core.npy import MOST_BYTES, Layout, naming_damage, read_archive
from codetr.data.lvis import FREQUENCIES
from codetr.evaluation.metrics.matching import AREA_RANGES, IOU_THRESHOLDS, Matching
from codetr.evaluation.tables.ground_truth import GroundTruth, positions

OUTCOMES, MASK_OUTCOMES = "outcomes.npz", "mask_outcomes.npz"
"""Their files in the folder of an evaluation."""

MOST_RANK = 10
"""AR1 and AR10 ask for ranks up to here."""

_PLACES = ("label", "image", "candidates", "object_label", "object_image")
_PER_RANGE = {"counted": "label", "sought": "object_label"}
_PER_THRESHOLD = {"hit": "candidates", "excused": "candidates"}
"""What is written with a bit each, by range or by range and threshold, and what is as long."""

_LAYOUTS = {
    "classes": Layout(np.uint8),
    "image_ids": Layout(np.int64),
    "category_ids": Layout(np.int64),
    "rank": Layout(np.uint8),
    **dict.fromkeys(_PLACES, Layout(np.int32)),
    **dict.fromkeys(_PER_RANGE, Layout(np.uint8, axes=2)),
    **dict.fromkeys(_PER_THRESHOLD, Layout(np.uint8, axes=3)),
}


class _Classes(msgspec.Struct, forbid_unknown_fields=True):
    """What is written as JSON text, with the meaning it has in `Outcomes`: an array of texts would make all as long."""

    names: tuple[str, ...]
    frequency: tuple[str | None, ...]
    federated: bool


@dataclass(frozen=True)
class Outcomes:
    """Detections by class and, within a class, in the order of their ranking. Classes and images are positions.

    Attributes:
        image_ids: (images,) ascending.
        category_ids: (classes,) ascending.
        names: of the classes.
        frequency: of every class one of `FREQUENCIES` or None; only where they were matched by LVIS's rules.
        federated: whether they were.
        label: (detections,) non-decreasing.
        image: (detections,).
        counted: (ranges, detections) bool: counts as wrong if it finds nothing.
        candidates: (candidates,) ascending positions of the detections that can find something.
        hit: (ranges, thresholds, candidates) bool: finds an object that is to be found.
        excused: (ranges, thresholds, candidates) bool: finds one that is not, a crowd for instance, and does not count.
        rank: (candidates,) 0 for the best of its class in its image, `MOST_RANK` for all beyond.
        object_label: (objects,) non-decreasing.
        object_image: (objects,).
        sought: (ranges, objects) bool: to be found.
    """

    image_ids: NDArray[np.int64]
    category_ids: NDArray[np.int64]
    names: tuple[str, ...]
    frequency: tuple[str | None, ...]
    federated: bool
    label: NDArray[np.int64]
    image: NDArray[np.int64]
    counted: NDArray[np.bool_]
    candidates: NDArray[np.int64]
    hit: NDArray[np.bool_]
    excused: NDArray[np.bool_]
    rank: NDArray[np.int64]
    object_label: NDArray[np.int64]
    object_image: NDArray[np.int64]
    sought: NDArray[np.bool_]

    @classmethod
    def of(cls, matching: Matching, truth: GroundTruth) -> Self:
        """From a matching and the ground truth it belongs to."""
        order = np.lexsort((-matching.score, matching.label))
        place = np.empty_like(order)
        place[order] = np.arange(len(order))
        candidates = place[matching.candidates]
        by_place = np.argsort(candidates)
        found = matching.found[..., by_place]
        passed = np.zeros(found.shape, bool)
        for skipped, row, own in zip(matching.skipped, passed, found, strict=True):
            row[own >= 0] = skipped[own[own >= 0]]
        return cls(
            image_ids=truth.image_ids,
            category_ids=truth.category_ids,
            names=tuple(truth.names),
            frequency=truth.frequency if truth.federated else (None,) * len(truth.category_ids),
            federated=truth.federated,
            label=matching.label[order],
            image=matching.image[order],
            counted=~matching.uncounted[:, order],
            candidates=candidates[by_place],
            hit=(found >= 0) & ~passed,
            excused=passed,
            rank=np.minimum(matching.rank[matching.candidates[by_place]], MOST_RANK),
            object_label=truth.label[matching.objects],
            object_image=truth.image[matching.objects],
            sought=~matching.skipped,
        )

    def write(self, path: Path) -> None:
        """Write them as an archive of arrays, atomically; the same outcomes give the same bytes."""
        classes = msgspec.json.encode(_Classes(self.names, self.frequency, self.federated))
        arrays: dict[str, NDArray[Any]] = {
            "classes": np.frombuffer(classes, np.uint8),
            "image_ids": self.image_ids,
            "category_ids": self.category_ids,
            "rank": self.rank.astype(np.uint8),
        }
        arrays |= {name: getattr(self, name).astype(np.int32) for name in _PLACES}
        arrays |= {name: np.packbits(getattr(self, name), axis=-1) for name in (*_PER_RANGE, *_PER_THRESHOLD)}
        with atomic_file(path) as temporary, temporary.open("wb") as stream:
            np.savez_compressed(stream, allow_pickle=False, **arrays)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read what `write` wrote.

        Raises:
            UserError: there is no such file, or what is in it cannot be outcomes.
        """
        hint = "It is damaged, or of another version; `codetr evaluate` writes it anew."
        with naming_damage(path, hint):
            outcomes = cls._of_arrays(read_archive(path, _LAYOUTS, hint=hint))
            outcomes._require_fit()
        return outcomes

    @classmethod
    def _of_arrays(cls, arrays: dict[str, NDArray[Any]]) -> Self:
        ranges, thresholds = len(AREA_RANGES), len(IOU_THRESHOLDS)
        size = 8 * sum(arrays[name].size for name in (*_PER_RANGE, *_PER_THRESHOLD))
        if size > MOST_BYTES:
            raise ValueError(f"unpacked, its bits take {size} bytes, more than the {MOST_BYTES} that are allowed")
        bits: dict[str, Any] = {}
        for lengths, shape in ((_PER_RANGE, (ranges,)), (_PER_THRESHOLD, (ranges, thresholds))):
            for name, of in lengths.items():
                packed, length = arrays[name], len(arrays[of])
                if packed.shape != (*shape, -(-length // 8)):
                    raise ValueError(f"'{name}' is an array {packed.shape}, which does not fit '{of}'")
                bits[name] = np.unpackbits(packed, axis=-1, count=length).view(bool)
        classes = msgspec.json.decode(arrays["classes"].tobytes(), type=_Classes)
        integers: dict[str, Any] = {name: arrays[name].astype(np.int64) for name in (*_PLACES, "rank")}
        return cls(
            image_ids=arrays["image_ids"],
            category_ids=arrays["category_ids"],
            names=classes.names,
            frequency=classes.frequency,
            federated=classes.federated,
            **integers,
            **bits,
        )

    def _require_fit(self) -> None:
        """Raise `ValueError` unless everything is what is documented above, so that nothing fails or misleads later."""
        images, classes = len(self.image_ids), len(self.category_ids)
        groups = (None, *FREQUENCIES) if self.federated else (None,)
        fits = {
            "image_ids": _ascend(self.image_ids),
            "category_ids": _ascend(self.category_ids),
            "names": len(self.names) == classes,
            "frequency": len(self.frequency) == classes and all(group in groups for group in self.frequency),
            "label": _within(self.label, classes) and bool((self.label[1:] >= self.label[:-1]).all()),
            "image": len(self.image) == len(self.label) and _within(self.image, images),
            "candidates": _within(self.candidates, len(self.label)) and _ascend(self.candidates),
            "rank": len(self.rank) == len(self.candidates) and _within(self.rank, MOST_RANK + 1),
            "hit": not bool((self.hit & self.excused).any()),
            "object_label": _within(self.object_label, classes)
            and bool((self.object_label[1:] >= self.object_label[:-1]).all()),
            "object_image": len(self.object_image) == len(self.object_label) and _within(self.object_image, images),
        }
        for name, fit in fits.items():
            if not fit:
                raise ValueError(f"the values of '{name}' cannot be, or do not fit the others")
        if not self._found_once():
            raise ValueError("in an image more objects of a class are found than there are")

    def _found_once(self) -> bool:
        images = len(self.image_ids)
        groups, own = np.unique(self.object_label * images + self.object_image, return_inverse=True)
        group = positions(self.label[self.candidates] * images + self.image[self.candidates], groups)
        for sought, hits in zip(self.sought, self.hit, strict=True):
            there = np.bincount(own[sought], minlength=len(groups))
            for hit in hits:
                found = group[hit]
                if (found < 0).any() or (np.bincount(found, minlength=len(groups)) > there).any():
                    return False
        return True


def _within(values: NDArray[np.int64], count: int) -> bool:
    return not len(values) or bool(values.min() >= 0 and values.max() < count)


def _ascend(values: NDArray[np.int64]) -> bool:
    """Without repetition."""
    return bool((values[1:] > values[:-1]).all())
