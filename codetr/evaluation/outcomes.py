"""What became of every detection, without scores and boxes: all that the metrics of any selection of images need.

The metrics of a set in which images are left out or occur several times, such as a bootstrap's, follow from who found
whom: what happens in one image does not touch another. This is the part of a matching that they follow from.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from codetr.errors import UserError
from codetr.evaluation.arrays import GroundTruth
from codetr.evaluation.matching import AREA_RANGES, IOU_THRESHOLDS, Matching
from codetr.files import atomic_file

OUTCOMES, MASK_OUTCOMES = "outcomes.npz", "mask_outcomes.npz"
"""Their files in the folder of an evaluation."""


@dataclass(frozen=True)
class Outcomes:
    """Detections by class and, within a class, in the order of their ranking. Classes and images are positions.

    Attributes:
        image_ids: (images,) ascending.
        category_ids: (classes,) ascending.
        names: of the classes.
        frequency: "r", "c" or "f" for every class of LVIS (rare, common, frequent), or None.
        federated: whether they were matched by LVIS's rules.
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
            frequency=truth.frequency,
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
        arrays = {
            "image_ids": self.image_ids,
            "category_ids": self.category_ids,
            "names": np.array(self.names, "U"),
            "frequency": np.array([group or "-" for group in self.frequency], "U1"),
            "federated": np.array(self.federated),
            "candidates": self.candidates.astype(np.int32),
            "rank": self.rank.astype(np.uint8),
        }
        arrays |= {name: getattr(self, name).astype(np.int32) for name in _PLACES}
        arrays |= {name: np.packbits(getattr(self, name), axis=-1) for name in _BITS}
        with atomic_file(path) as temporary, temporary.open("wb") as stream:
            np.savez_compressed(stream, allow_pickle=False, **arrays)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read what `write` wrote.

        Raises:
            UserError: there is no such file, or what is in it cannot be outcomes.
        """
        hint = "It is written by `codetr evaluate`; run it again."
        try:
            with np.load(path, allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
            outcomes = cls._of_arrays(arrays)
        except FileNotFoundError:
            raise UserError("no such file", where=str(path), hint=hint) from None
        except (OSError, ValueError, KeyError, TypeError, IndexError, EOFError, zipfile.BadZipFile) as error:
            raise UserError(f"holds no outcomes of an evaluation: {error}", where=str(path), hint=hint) from None
        if not outcomes._fit():
            raise UserError("the arrays in it do not fit together", where=str(path), hint=hint)
        return outcomes

    @classmethod
    def _of_arrays(cls, arrays: dict[str, NDArray[Any]]) -> Self:
        ranges, thresholds = len(AREA_RANGES), len(IOU_THRESHOLDS)
        lengths = {name: len(arrays[of]) for name, of in _BITS.items()}
        shapes = {
            "counted": (ranges,),
            "sought": (ranges,),
            "hit": (ranges, thresholds),
            "excused": (ranges, thresholds),
        }
        places: dict[str, Any] = {name: arrays[name].astype(np.int64) for name in _PLACES}
        bits: dict[str, Any] = {}
        for name, length in lengths.items():
            packed = arrays[name]
            if packed.shape != (*shapes[name], -(-length // 8)) or packed.dtype != np.uint8:
                raise ValueError(f"'{name}' is an array {packed.shape} of {packed.dtype}")
            bits[name] = np.unpackbits(packed, axis=-1, count=length).astype(bool)
        return cls(
            image_ids=arrays["image_ids"].astype(np.int64),
            category_ids=arrays["category_ids"].astype(np.int64),
            names=tuple(str(name) for name in arrays["names"]),
            frequency=tuple(None if group == "-" else str(group) for group in arrays["frequency"]),
            federated=bool(arrays["federated"]),
            candidates=arrays["candidates"].astype(np.int64),
            rank=arrays["rank"].astype(np.int64),
            **places,
            **bits,
        )

    def _fit(self) -> bool:
        """Whether lengths agree and positions are within what they are positions of, so that nothing fails later."""
        images, classes = len(self.image_ids), len(self.category_ids)
        flat = [self.image_ids, self.category_ids, self.candidates, self.rank, *(getattr(self, n) for n in _PLACES)]
        return (
            all(values.ndim == 1 for values in flat)
            and len(self.frequency) == len(self.names) == classes
            and len(self.label) == len(self.image)
            and len(self.object_label) == len(self.object_image)
            and len(self.rank) == len(self.candidates)
            and all(_within(values, images) for values in (self.image, self.object_image))
            and all(_within(v, classes) and bool((np.diff(v) >= 0).all()) for v in (self.label, self.object_label))
            and _within(self.candidates, len(self.label))
            and bool((np.diff(self.candidates) > 0).all())
        )


_PLACES = ("label", "image", "object_label", "object_image")
_BITS = {"counted": "label", "sought": "object_label", "hit": "candidates", "excused": "candidates"}
"""What is written with a bit each, and what is as long."""


def _within(values: NDArray[np.int64], count: int) -> bool:
    return not len(values) or bool(values.min() >= 0 and values.max() < count)


MOST_RANK = 10
"""AR1 and AR10 ask for ranks up to here."""
