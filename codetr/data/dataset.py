"""A split of a prepared dataset: opened in milliseconds, however large, and cheap to hand to loader processes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from codetr.data import segmentation
from codetr.data.images import read_image
from codetr.data.index import open_index
from codetr.errors import UserError
from codetr.files import read_json

CLASSES = "classes.json"
LOCATIONS = "locations.json"
"""The image folder of every split: absolute, or relative to the dataset folder. Not part of the dataset's digest."""


@dataclass(frozen=True)
class ImageRecord:
    """One image of a split with its objects.

    Attributes:
        image_id: original id.
        path: the image file.
        height: rows of the decoded image.
        width: columns of the decoded image.
        upright: the EXIF orientation is to be applied when decoding.
        file_size: bytes of the file when the dataset was prepared.
        boxes_xywh: (objects, 4) float64 x, y, width, height in pixels, as annotated.
        labels: (objects,) int32 in [0, classes).
        areas: (objects,) float64 square pixels.
        iscrowd: (objects,) bool.
        trainable: (objects,) bool: to be trained on; the others (crowds, ignored, less than a pixel) only evaluated.
        annotation_ids: (objects,) int64.
    """

    image_id: int
    path: Path
    height: int
    width: int
    upright: bool
    file_size: int
    boxes_xywh: NDArray[np.float64]
    labels: NDArray[np.int32]
    areas: NDArray[np.float64]
    iscrowd: NDArray[np.bool_]
    trainable: NDArray[np.bool_]
    annotation_ids: NDArray[np.int64]
    outlines: tuple[bytes, ...]

    def segmentation(self, k: int) -> list[list[float]] | dict[str, Any] | None:
        """Outline of object `k`: polygons, a run-length code, or None."""
        return json.loads(self.outlines[k]) if self.outlines[k] else None

    def mask(self, k: int) -> NDArray[np.bool_]:
        """(height, width) bool mask of object `k`; its box, filled, if it has no outline."""
        outline = self.segmentation(k)
        if outline is not None:
            return segmentation.decode(outline, self.height, self.width)
        x, y, width, height = self.boxes_xywh[k]
        left, top = max(round(x), 0), max(round(y), 0)
        mask = np.zeros((self.height, self.width), bool)
        mask[top : max(round(y + height), 0), left : max(round(x + width), 0)] = True
        return mask

    def read(self) -> NDArray[np.uint8]:
        """Decode the image: (height, width, 3) uint8 RGB.

        Raises:
            UserError: the file is gone, damaged, or of another size than when the dataset was prepared.
        """
        image = read_image(self.path, upright=self.upright)
        hint = "Run `codetr prepare` again."
        if image.shape[:2] != (self.height, self.width):
            problem = f"is {image.shape[1]}x{image.shape[0]}, was {self.width}x{self.height} when prepared"
            raise UserError(problem, where=str(self.path), hint=hint)
        # Far cheaper than the digest, and tells nearly every file that was edited or written anew.
        if (size := self.path.stat().st_size) != self.file_size:
            problem = f"has {size} bytes, had {self.file_size} when prepared"
            raise UserError(problem, where=str(self.path), hint=hint)
        return image


class Split:
    """One split of a prepared dataset. Pickles as its location only, so that processes map the same files.

    Attributes:
        dataset: the dataset folder.
        name: the split.
        names: class names by label.
        category_ids: original category ids by label, ascending.
    """

    def __init__(self, dataset: Path, name: str) -> None:
        self.dataset, self.name = dataset, name
        self.names, self.category_ids = read_classes(dataset)
        self._root = _image_root(dataset, name)
        self._arrays = open_index(dataset / name)

    @classmethod
    def open(cls, dataset: Path, split: str) -> Self:
        """Open the split `split` of the dataset folder `dataset`.

        Raises:
            UserError: no dataset there, no such split, or damaged files.
        """
        return cls(dataset, split)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.dataset, self.name)

    def __len__(self) -> int:
        return len(self._arrays["image_ids"])

    @property
    def arrays(self) -> Mapping[str, NDArray[Any]]:
        """All arrays of the index, by the names of `codetr.data.index.ARRAYS`."""
        return self._arrays

    @property
    def sizes(self) -> NDArray[np.int32]:
        """(images, 2) height and width of every image."""
        return self._arrays["sizes"]

    @property
    def image_ids(self) -> NDArray[np.int64]:
        """(images,) original image ids."""
        return self._arrays["image_ids"]

    @property
    def labels(self) -> NDArray[np.int32]:
        """(objects,) labels of all objects, crowds included."""
        return self._arrays["labels"]

    @property
    def trained_on(self) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        """Image index and label of every object that is trained on, two arrays (objects,), in the order of images."""
        counts = np.diff(self._arrays["object_offsets"])
        images = np.repeat(np.arange(len(self)), counts)
        trainable = self._arrays["trainable"]
        return images[trainable], self.labels[trainable]

    @property
    def without_outline(self) -> int:
        """How many of the objects that are trained on have no outline."""
        return int(np.count_nonzero((np.diff(self._arrays["outline_offsets"]) == 0) & self._arrays["trainable"]))

    def path(self, i: int) -> Path:
        """The file of image `i`."""
        return self._root / self.relative_path(i)

    def digest(self, i: int) -> str:
        """SHA-256 of the file of image `i` when the dataset was prepared, as `sha256:<hex>`."""
        return f"sha256:{self._arrays['digests'][i].tobytes().hex()}"

    def record(self, i: int) -> ImageRecord:
        """Image `i` with its objects."""
        arrays = self._arrays
        objects = slice(int(arrays["object_offsets"][i]), int(arrays["object_offsets"][i + 1]))
        bounds = arrays["outline_offsets"][objects.start : objects.stop + 1]
        height, width = (int(side) for side in arrays["sizes"][i])
        return ImageRecord(
            image_id=int(arrays["image_ids"][i]),
            path=self.path(i),
            height=height,
            width=width,
            upright=bool(arrays["upright"][i]),
            file_size=int(arrays["file_sizes"][i]),
            boxes_xywh=np.array(arrays["boxes"][objects]),
            labels=np.array(arrays["labels"][objects]),
            areas=np.array(arrays["areas"][objects]),
            iscrowd=np.array(arrays["crowds"][objects]),
            trainable=np.array(arrays["trainable"][objects]),
            annotation_ids=np.array(arrays["annotation_ids"][objects]),
            outlines=tuple(arrays["outlines"][start:stop].tobytes() for start, stop in pairwise(bounds)),
        )

    def to_coco(self) -> dict[str, Any]:
        """The split as COCO ground truth: what the annotation file says about everything that was not dropped.

        Boxes and areas are those of the file to the last bit, crowds are included, ids are the original ones.
        """
        images, annotations = [], []
        for i in range(len(self)):
            record = self.record(i)
            images.append(
                {
                    "id": record.image_id,
                    "file_name": self.relative_path(i),
                    "height": record.height,
                    "width": record.width,
                }
            )
            for k in range(len(record.labels)):
                annotation = {
                    "id": int(record.annotation_ids[k]),
                    "image_id": record.image_id,
                    "category_id": self.category_ids[record.labels[k]],
                    "bbox": record.boxes_xywh[k].tolist(),
                    "area": float(record.areas[k]),
                    "iscrowd": int(record.iscrowd[k]),
                }
                outline = record.segmentation(k)
                if outline is not None:
                    annotation["segmentation"] = outline
                annotations.append(annotation)
        categories = [{"id": i, "name": name} for i, name in zip(self.category_ids, self.names, strict=True)]
        return {"images": images, "annotations": annotations, "categories": categories}

    def relative_path(self, i: int) -> str:
        """The file of image `i`, relative to the image folder."""
        start, stop = self._arrays["path_offsets"][i : i + 2]
        return self._arrays["paths"][start:stop].tobytes().decode()


def read_classes(dataset: Path) -> tuple[list[str], list[int]]:
    """Class names and original category ids of a dataset, by label.

    Raises:
        UserError: missing or damaged.
    """
    path = dataset / CLASSES
    if not path.is_file():
        raise UserError(f"holds no {CLASSES}", where=str(dataset), hint="A dataset folder is made by `codetr prepare`.")
    values = read_json(path)
    fields = values if isinstance(values, dict) else {}
    names = [name for name in _list(fields.get("names")) if type(name) is str]
    ids = [identifier for identifier in _list(fields.get("category_ids")) if type(identifier) is int]
    if not names or {"names": names, "category_ids": ids} != values or len(names) != len(ids):
        raise UserError("needs 'names' and 'category_ids', two lists of one length", where=str(path))
    return names, ids


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _image_root(dataset: Path, split: str) -> Path:
    path = dataset / LOCATIONS
    locations = read_json(path)
    if not isinstance(locations, dict) or not all(isinstance(value, str) for value in locations.values()):
        raise UserError("is not an object of image folders by split", where=str(path))
    if split not in locations:
        raise UserError(f"has no split '{split}' (it has {', '.join(locations) or 'none'})", where=str(dataset))
    root = dataset / locations[split]
    if not root.is_dir():
        hint = f"Images are referenced, not copied: bring the folder back, correct {path}, or prepare again."
        raise UserError(f"the image folder of split '{split}' is gone", where=str(root), hint=hint)
    return root
