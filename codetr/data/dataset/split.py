"""A split of a prepared dataset: opens in milliseconds whatever its size, and is cheap to pass to loader processes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from codetr.core.errors import UserError
from codetr.core.files import read_json
from codetr.core.system.os_errors import is_system_failure, loading_error, unreadable
from codetr.data.config import FULL_RANGE, MAX_PIXELS, Range16Bit
from codetr.data.dataset.classes import as_list, read_classes
from codetr.data.dataset.image_settings import read_image_settings
from codetr.data.dataset.index import object_images, open_index
from codetr.data.images import parse_image
from codetr.data.lvis import NEGATIVE, NOT_EXHAUSTIVE
from codetr.data.segmentation import decode
from codetr.data.storage.image_error import PREPARE_AGAIN, BadImageError
from codetr.data.storage.image_store import ImageRoot, read_cached, require_digest
from codetr.data.storage.tar import Member, is_sharded, read_member, shard_path, stored_member
from codetr.storage.s3_client import SCHEME, S3Address, StorageError

LOCATIONS = "locations.json"
"""File with the image folder, tar file or S3 prefix of every split, absolute or relative to the dataset folder.

It is not part of the digest of the dataset. A split of several sources has a list of folders, and the paths in its
index begin with an index into it."""


@dataclass(frozen=True)
class ImageRecord:
    """One image of a split with its objects.

    Attributes:
        image_id: original id.
        path: the image file, or its tar file, or the object on S3.
        height: rows of the decoded image.
        width: columns of the decoded image.
        upright: the EXIF orientation is to be applied when decoding.
        digest: SHA-256 of the file when the dataset was prepared, as `sha256:<hex>`.
        file_size: in bytes, when the dataset was prepared.
        boxes_xywh: (objects, 4) float64 x, y, width, height in pixels, as annotated.
        labels: (objects,) int32 in [0, classes).
        areas: (objects,) float64 square pixels.
        iscrowd: (objects,) bool.
        trainable: (objects,) bool: used for training; others (crowds, ignored, below a pixel) are only evaluated.
        annotation_ids: (objects,) int64.
        segmentations: polygons or run-length code of every object as JSON, empty where it has none.
        negative: (n,) int32 labels verified to be absent, None where the image does not list verified classes.
        not_exhaustive: (n,) int32 labels of which not every object is annotated; None where `negative` is.
        member: its location in the tar file; None for a plain file or an object on S3.
        range_16bit: values that become black and white if it is a 16-bit grey image.
    """

    image_id: int
    path: ImageRoot
    height: int
    width: int
    upright: bool
    digest: str
    file_size: int
    boxes_xywh: NDArray[np.float64]
    labels: NDArray[np.int32]
    areas: NDArray[np.float64]
    iscrowd: NDArray[np.bool_]
    trainable: NDArray[np.bool_]
    annotation_ids: NDArray[np.int64]
    segmentations: tuple[bytes, ...]
    negative: NDArray[np.int32] | None = None
    not_exhaustive: NDArray[np.int32] | None = None
    member: Member | None = None
    range_16bit: Range16Bit = FULL_RANGE

    def segmentation(self, k: int) -> list[list[float]] | dict[str, Any] | None:
        """Return the segmentation of object `k`: polygons, a run-length code, or None."""
        return json.loads(self.segmentations[k]) if self.segmentations[k] else None

    def mask(self, k: int) -> NDArray[np.bool_]:
        """Return the (height, width) bool mask of object `k`; its box, filled, if it has no segmentation."""
        segmentation = self.segmentation(k)
        if segmentation is not None:
            return decode(segmentation, self.height, self.width)
        x, y, width, height = self.boxes_xywh[k]
        left, top = max(round(x), 0), max(round(y), 0)
        mask = np.zeros((self.height, self.width), bool)
        mask[top : max(round(y + height), 0), left : max(round(x + width), 0)] = True
        return mask

    def read(self) -> NDArray[np.uint8]:
        """Decode the image: (height, width, 3) uint8 RGB.

        Raises:
            BadImageError: the file is missing, damaged, or has changed since the dataset was prepared.
            StorageError: it is on S3, and the bucket or the credentials are wrong.
            RunFailed: S3 or a network file system does not answer, or the machine lacks memory.
            UserError: this process may open no more files.
        """
        where = str(self.path) if self.member is None else f"'{self.member.name}' in {self.path}"
        try:
            image = parse_image(
                self._content(where),
                where,
                upright=self.upright,
                range_16bit=self.range_16bit,
                max_pixels=max(MAX_PIXELS, self.height * self.width),  # `prepare` has read it
            )
        except (BadImageError, StorageError):
            raise
        except UserError as error:
            raise BadImageError(error.problem, where=where, hint=error.hint) from None
        except OSError as error:
            if is_system_failure(error):
                raise loading_error(error, "reading images", where=where) from None
            reported = unreadable(error, where)
            raise BadImageError(reported.problem, where=where, hint=reported.hint) from None
        if image.shape[:2] != (self.height, self.width):
            problem = f"is {image.shape[1]}x{image.shape[0]}, was {self.width}x{self.height} when prepared"
            raise BadImageError(problem, where=where, hint=PREPARE_AGAIN)
        return image

    def _content(self, where: str) -> bytes:
        if isinstance(self.path, S3Address):
            return read_cached(self.path, self.digest)
        if self.member is not None:
            content = read_member(self.path, self.member)
        else:
            # The digest would find this too, but could not say what has changed.
            if (size := self.path.stat().st_size) != self.file_size:
                problem = f"has {size} bytes, had {self.file_size} when prepared"
                raise BadImageError(problem, where=where, hint=PREPARE_AGAIN)
            content = self.path.read_bytes()
        # The file may be another valid image, which the annotations do not belong to.
        require_digest(content, self.digest, where)
        return content


class Split:
    """One split of a prepared dataset. It is pickled as its path only, so that all processes map the same files.

    Attributes:
        dataset: the dataset folder.
        name: the split.
        names: class names by label.
        category_ids: original category ids by label, ascending.
        frequencies: frequencies of the classes by label.
        range_16bit: values of 16-bit grey images that become black and white.
    """

    def __init__(self, dataset: Path, name: str) -> None:
        self.dataset, self.name = dataset, name
        classes = read_classes(dataset)
        self.names, self.category_ids, self.frequencies = classes.names, classes.category_ids, classes.frequencies
        self.range_16bit = read_image_settings(dataset).range_16bit
        self._roots = _image_roots(dataset, name)
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
        """All arrays of the index, by the names in `codetr.data.dataset.index`."""
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
    def trainable_objects(self) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        """Image index and label of every trainable object, two arrays (objects,), in the order of images."""
        trainable = self._arrays["trainable"]
        return object_images(self._arrays)[trainable], self.labels[trainable]

    @property
    def federated(self) -> bool:
        """Whether images list which classes were verified, as in LVIS."""
        return "verified" in self._arrays

    @property
    def without_segmentation(self) -> int:
        """Number of trainable objects without a segmentation."""
        return int(np.count_nonzero((np.diff(self._arrays["segmentation_offsets"]) == 0) & self._arrays["trainable"]))

    def path(self, i: int) -> ImageRoot:
        """Return the file of image `i`, or its tar file, or the object on S3."""
        source, path = self._source_and_path(i)
        root, member = self._roots[source], stored_member(self._arrays, i, path)
        return root / path if member is None or isinstance(root, S3Address) else shard_path(root, member.shard)

    def digest(self, i: int) -> str:
        """Return the SHA-256 of the file of image `i` when the dataset was prepared, as `sha256:<hex>`."""
        return f"sha256:{self._arrays['digests'][i].tobytes().hex()}"

    def record(self, i: int) -> ImageRecord:
        """Return image `i` with its objects."""
        arrays = self._arrays
        objects = slice(int(arrays["object_offsets"][i]), int(arrays["object_offsets"][i + 1]))
        bounds = arrays["segmentation_offsets"][objects.start : objects.stop + 1]
        height, width = (int(side) for side in arrays["sizes"][i])
        return ImageRecord(
            image_id=int(arrays["image_ids"][i]),
            path=self.path(i),
            height=height,
            width=width,
            upright=bool(arrays["upright"][i]),
            digest=self.digest(i),
            file_size=int(arrays["file_sizes"][i]),
            boxes_xywh=np.array(arrays["boxes_xywh"][objects]),
            labels=np.array(arrays["labels"][objects]),
            areas=np.array(arrays["areas"][objects]),
            iscrowd=np.array(arrays["iscrowd"][objects]),
            trainable=np.array(arrays["trainable"][objects]),
            annotation_ids=np.array(arrays["annotation_ids"][objects]),
            segmentations=tuple(arrays["segmentations"][start:stop].tobytes() for start, stop in pairwise(bounds)),
            negative=self._verified("negative", i),
            not_exhaustive=self._verified("not_exhaustive", i),
            member=stored_member(arrays, i, self._source_and_path(i)[1]),
            range_16bit=self.range_16bit,
        )

    def segmentation(self, k: int) -> list[list[float]] | dict[str, Any] | None:
        """Return the segmentation of object `k` of the split: polygons, a run-length code, or None."""
        start, stop = self._arrays["segmentation_offsets"][k : k + 2]
        return json.loads(self._arrays["segmentations"][start:stop].tobytes()) if stop > start else None

    def to_coco(self) -> dict[str, Any]:
        """Return the split as COCO ground truth: the annotation file without the records that were dropped.

        Boxes and areas are those of the file to the last bit, crowds are included, ids are the original ones. For a
        federated dataset it is LVIS ground truth: images list verified categories, categories their frequency.
        """
        images: list[dict[str, Any]] = []
        annotations: list[dict[str, Any]] = []
        ignored = self._arrays.get("ignored")
        for i in range(len(self)):
            record = self.record(i)
            image = {
                "id": record.image_id,
                "file_name": self.relative_path(i),
                "height": record.height,
                "width": record.width,
            }
            for field, listed in ((NEGATIVE, record.negative), (NOT_EXHAUSTIVE, record.not_exhaustive)):
                if listed is not None:
                    image[field] = [self.category_ids[label] for label in listed]
            images.append(image)
            for k in range(len(record.labels)):
                annotation = {
                    "id": int(record.annotation_ids[k]),
                    "image_id": record.image_id,
                    "category_id": self.category_ids[record.labels[k]],
                    "bbox": record.boxes_xywh[k].tolist(),
                    "area": float(record.areas[k]),
                    "iscrowd": int(record.iscrowd[k]),
                }
                segmentation = record.segmentation(k)
                if segmentation is not None:
                    annotation["segmentation"] = segmentation
                if ignored is not None and ignored[len(annotations)]:
                    annotation["ignore"] = 1
                annotations.append(annotation)
        categories = []
        for identifier, name, known in zip(self.category_ids, self.names, self.frequencies, strict=True):
            category = {"id": identifier, "name": name, "frequency": known.group, "image_count": known.image_count}
            categories.append({field: value for field, value in category.items() if value is not None})
        return {"images": images, "annotations": annotations, "categories": categories}

    def source(self, i: int) -> int:
        """Return the index of the source of image `i` among those of the split; 0 if there is only one."""
        return self._source_and_path(i)[0]

    def _source_and_path(self, i: int) -> tuple[int, str]:
        path = self.relative_path(i)
        if len(self._roots) == 1:
            return 0, path
        source, _, path = path.partition("/")
        return int(source), path

    def _verified(self, name: str, i: int) -> NDArray[np.int32] | None:
        if not self.federated or not self._arrays["verified"][i]:
            return None
        start, stop = self._arrays[f"{name}_offsets"][i : i + 2]
        return np.array(self._arrays[f"{name}_labels"][start:stop])

    def relative_path(self, i: int) -> str:
        """Return the file of image `i` relative to its image folder; with several sources, after its source index."""
        start, stop = self._arrays["path_offsets"][i : i + 2]
        return self._arrays["paths"][start:stop].tobytes().decode()


def _image_roots(dataset: Path, split: str) -> list[ImageRoot]:
    path = dataset / LOCATIONS
    locations = read_json(path)
    values = locations.values() if isinstance(locations, dict) else [None]
    if not all(isinstance(folder, str) for value in values for folder in (as_list(value) or [value])):
        raise UserError("is not a JSON object with the image folders of every split", where=str(path))
    if split not in locations:
        raise UserError(f"has no split '{split}' (it has {', '.join(locations) or 'none'})", where=str(dataset))
    roots = [
        S3Address.parse(root) if root.startswith(SCHEME) else dataset / root
        for root in as_list(locations[split]) or [locations[split]]
    ]
    for root in roots:
        if isinstance(root, Path) and not (root.is_dir() or (root.is_file() and is_sharded(root))):
            hint = f"Images are referenced, not copied: restore the folder, correct {path}, or prepare again."
            raise UserError(f"the image folder of split '{split}' does not exist", where=str(root), hint=hint)
    return roots
