"""Ground truth as flat NumPy arrays, which is what the metrics are computed from.

Of a prepared dataset these are the arrays of its index under the names of COCO's fields, mapped and not copied.
Images and classes are positions in ascending order of their ids: the reference programs visit them in this order, and
of equal scores the earlier detection ranks higher.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from codetr.data.dataset.split import Split
from codetr.data.lvis import FREQUENCIES, NEGATIVE, NOT_EXHAUSTIVE
from codetr.evaluation.tables.rle import SplitSegmentations


@dataclass(frozen=True)
class GroundTruth:
    """What detections are compared with.

    Attributes:
        image_ids: (images,) ascending.
        category_ids: (classes,) ascending.
        file_names: of the images.
        names: of the classes.
        sizes: (images, 2) height and width in pixels; 0 where the annotation file does not say.
        image: (objects,) position of the object's image.
        label: (objects,) position of its class.
        boxes_xywh: (objects, 4) x, y, width, height in pixels.
        area: (objects,) square pixels.
        iscrowd: (objects,) bool.
        ignore: (objects,) bool, the field `ignore`, which LVIS's metrics use and COCO's do not.
        segmentations: polygons or run-length code of every object, None where it has none.
        has_segmentation: (objects,) bool.
        federated: whether only some classes of each image are verified, as in LVIS.
        negative: (n,) image × classes + class of classes that are verified to be absent, ascending.
        not_exhaustive: (n,) the same of classes whose objects are not all annotated.
        frequency: of every class one of `FREQUENCIES`, or None.
    """

    image_ids: NDArray[np.int64]
    category_ids: NDArray[np.int64]
    file_names: Sequence[str]
    names: Sequence[str]
    sizes: NDArray[np.integer[Any]]
    image: NDArray[np.int64]
    label: NDArray[np.int64]
    boxes_xywh: NDArray[np.float64]
    area: NDArray[np.float64]
    iscrowd: NDArray[np.bool_]
    ignore: NDArray[np.bool_]
    segmentations: Sequence[Any]
    has_segmentation: NDArray[np.bool_]
    federated: bool
    negative: NDArray[np.int64]
    not_exhaustive: NDArray[np.int64]
    frequency: tuple[str | None, ...]

    @classmethod
    def of_coco(cls, ground_truth: dict[str, Any]) -> Self:
        """Return the objects of a COCO or LVIS annotation file as read from JSON.

        Objects of images or classes that the file does not list are dropped.
        """
        images = {int(entry["id"]): entry for entry in ground_truth["images"]}
        categories = {int(entry["id"]): entry for entry in ground_truth["categories"]}
        image_ids, category_ids = (np.array(sorted(ids), np.int64) for ids in (images, categories))
        annotations = [
            entry
            for entry in ground_truth["annotations"]
            if entry["image_id"] in images and entry["category_id"] in categories
        ]
        boxes_xywh = boxes_table(annotations)
        given = np.array([entry.get("area", np.nan) for entry in annotations], np.float64)
        ordered = [images[identifier] for identifier in image_ids.tolist()]
        return cls(
            image_ids=image_ids,
            category_ids=category_ids,
            file_names=[str(entry.get("file_name", entry["id"])) for entry in ordered],
            names=[str(categories[identifier].get("name", identifier)) for identifier in category_ids.tolist()],
            sizes=np.array([[_side(entry.get(name)) for name in ("height", "width")] for entry in ordered], np.int64),
            image=positions(_integers([entry["image_id"] for entry in annotations]), image_ids),
            label=positions(_integers([entry["category_id"] for entry in annotations]), category_ids),
            boxes_xywh=boxes_xywh,
            area=np.where(np.isnan(given), boxes_xywh[:, 2] * boxes_xywh[:, 3], given),
            iscrowd=np.array([bool(entry.get("iscrowd", 0)) for entry in annotations], bool),
            ignore=np.array([bool(entry.get("ignore", 0)) for entry in annotations], bool),
            segmentations=[entry.get("segmentation") for entry in annotations],
            has_segmentation=np.array([bool(entry.get("segmentation")) for entry in annotations], bool),
            federated=is_federated(ground_truth),
            negative=_class_keys(ordered, NEGATIVE, category_ids),
            not_exhaustive=_class_keys(ordered, NOT_EXHAUSTIVE, category_ids),
            frequency=tuple(
                _frequency(categories[identifier].get("frequency")) for identifier in category_ids.tolist()
            ),
        )

    @classmethod
    def of_split(cls, split: Split) -> Self:
        """Return the objects of a split of a prepared dataset, equal to `of_coco(split.to_coco())`.

        Boxes, areas and flags are the arrays of the index itself.
        """
        arrays = {name: np.asarray(array) for name, array in split.arrays.items()}
        order = np.argsort(split.image_ids, kind="stable")
        position = np.empty(len(order), np.int64)
        position[order] = np.arange(len(order))
        category_ids = np.array(split.category_ids, np.int64)
        listed = dict.fromkeys(("negative", "not_exhaustive"), np.zeros(0, np.int64))
        if split.federated:
            for name in listed:
                image = np.repeat(position, np.diff(arrays[f"{name}_offsets"]))
                listed[name] = np.unique(image * len(category_ids) + arrays[f"{name}_labels"])
        return cls(
            image_ids=arrays["image_ids"][order],
            category_ids=category_ids,
            file_names=[split.relative_path(int(i)) for i in order],
            names=split.names,
            sizes=arrays["sizes"][order],
            image=np.repeat(position, np.diff(arrays["object_offsets"])),
            label=arrays["labels"].astype(np.int64),  # image × classes + class is beyond the 32 bits of the index
            boxes_xywh=arrays["boxes_xywh"],
            area=arrays["areas"],
            iscrowd=arrays["iscrowd"],
            ignore=arrays["ignored"] if split.federated else np.zeros(len(split.labels), bool),
            segmentations=SplitSegmentations(split),
            has_segmentation=np.diff(arrays["segmentation_offsets"]) > 0,
            federated=split.federated,
            negative=listed["negative"],
            not_exhaustive=listed["not_exhaustive"],
            frequency=tuple(frequency.group for frequency in split.frequencies),
        )

    def position(self, image_id: int) -> int:
        """Return the position of an image."""
        return int(np.searchsorted(self.image_ids, image_id))


def is_federated(ground_truth: dict[str, Any]) -> bool:
    """Return whether a ground truth says which classes of an image are verified, as LVIS does."""
    return any(NEGATIVE in entry or NOT_EXHAUSTIVE in entry for entry in ground_truth["images"])


def positions(ids: NDArray[np.int64], known: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the position of each id in the ascending `known`, -1 for those that are not in it."""
    if not len(known):
        return np.full(len(ids), -1, np.int64)
    position = np.minimum(np.searchsorted(known, ids), len(known) - 1)
    return np.where(known[position] == ids, position, -1)


def boxes_table(entries: Sequence[dict[str, Any]]) -> NDArray[np.float64]:
    """Return the `bbox` of every entry, (entries, 4) x, y, width, height in pixels."""
    numbers: Iterable[float] = chain.from_iterable(entry["bbox"] for entry in entries)
    return np.fromiter(numbers, np.float64, 4 * len(entries)).reshape(-1, 4)


def _integers(values: Sequence[int | None]) -> NDArray[np.int64]:
    return np.array([value or 0 for value in values], np.int64)


def _frequency(value: Any) -> str | None:
    """Return the frequency of a class, None for what is none of LVIS's groups."""
    return value if value in tuple(FREQUENCIES) else None


def _side(value: Any) -> int:
    """Return a side of an image, 0 if it is not a size; only masks need it."""
    return value if type(value) is int and 0 < value < 1 << 31 else 0


def _class_keys(images: Sequence[dict[str, Any]], name: str, category_ids: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return image × classes + class of the classes that images list under `name`, ascending."""
    lists = [entry.get(name) or [] for entry in images]
    image = np.repeat(np.arange(len(lists)), [len(entries) for entries in lists])
    label = positions(np.fromiter(chain.from_iterable(lists), np.int64), category_ids)
    return np.unique((image * len(category_ids) + label)[label >= 0])
