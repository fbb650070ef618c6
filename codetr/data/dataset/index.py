"""The memory-mapped index of a split: flat NumPy arrays with offsets, shared by all processes that open them.

Lists of Python objects would be copied into every loader process as soon as their reference counts change; arrays on
disk are mapped once and paged in as they are read.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codetr.core.array_files import map_array
from codetr.core.errors import UserError
from codetr.data.storage import tar
from codetr.data.storage.image_error import PREPARE_AGAIN

ARRAYS = {
    # Per image, n of them.
    "image_ids": "int64 (n,)",
    "sizes": "int32 (n, 2): height, width",
    "upright": "bool (n,): apply the EXIF orientation",
    "digests": "uint8 (n, 32): SHA-256 of the file",
    "file_sizes": "int64 (n,): bytes",
    "perceptual_hashes": "uint64 (n,): nearly equal in images that look the same",
    "paths": "uint8: UTF-8, concatenated",
    "path_offsets": "int64 (n + 1,)",
    "object_offsets": "int64 (n + 1,)",
    # Per object, in the order of images.
    "annotation_ids": "int64 (m,)",
    "boxes_xywh": "float64 (m, 4): x, y, width, height in pixels",
    "labels": "int32 (m,): position of the category in classes.json",
    "areas": "float64 (m,): square pixels",
    "iscrowd": "bool (m,): a region of several objects",
    "trainable": "bool (m,)",
    "segmentations": "uint8: polygons or run-length codes as JSON, concatenated",
    "segmentation_offsets": "int64 (m + 1,): empty for an object without segmentation",
}
"""Every array of an index, `NAME.npy` each."""

FEDERATED_ARRAYS = {
    "verified": "bool (n,): the image lists verified classes at all",
    "negative_labels": "int32: classes that are verified to be absent, image by image",
    "negative_offsets": "int64 (n + 1,)",
    "not_exhaustive_labels": "int32: classes whose objects are not all annotated, image by image",
    "not_exhaustive_offsets": "int64 (n + 1,)",
    "ignored": "bool (m,): marked with `ignore`, which LVIS's metrics use",
}
"""Further arrays, only where an image lists verified classes, as in LVIS."""


def open_index(folder: Path) -> dict[str, NDArray[Any]]:
    """Map the arrays of an index, read-only; those of `FEDERATED_ARRAYS` and of tar files only if they exist.

    Raises:
        UserError: an array is missing, unreadable, or inconsistent with the others.
    """
    arrays = _open(folder, ARRAYS)
    images, objects = len(arrays["image_ids"]), len(arrays["annotation_ids"])
    lengths = {
        **dict.fromkeys(("sizes", "upright", "digests", "file_sizes", "perceptual_hashes"), images),
        **dict.fromkeys(("path_offsets", "object_offsets"), images + 1),
        **dict.fromkeys(("boxes_xywh", "labels", "areas", "iscrowd", "trainable"), objects),
        "segmentation_offsets": objects + 1,
    }
    ends = [("object_offsets", objects)]
    ends += [(f"{name}_offsets", len(arrays[f"{name}s"])) for name in ("path", "segmentation")]
    if (folder / "verified.npy").exists():
        arrays |= _open(folder, FEDERATED_ARRAYS)
        lengths |= {"verified": images, "negative_offsets": images + 1, "not_exhaustive_offsets": images + 1}
        lengths["ignored"] = objects
        ends += [(f"{name}_offsets", len(arrays[f"{name}_labels"])) for name in ("negative", "not_exhaustive")]
    if (folder / "shards.npy").exists():
        arrays |= _open(folder, tar.ARRAYS)
        lengths |= tar.shard_lengths(arrays)
        ends.append(("shard_name_offsets", len(arrays["shard_names"])))
    wrong = [name for name, length in lengths.items() if len(arrays[name]) != length]
    wrong += [name for name, end in ends if not len(arrays[name]) or arrays[name][-1] != end]
    if wrong:
        problem = f"the arrays of this index do not fit together: '{wrong[0]}' and the others"
        raise UserError(problem, where=str(folder), hint=PREPARE_AGAIN)
    return arrays


def object_images(arrays: Mapping[str, NDArray[Any]]) -> NDArray[np.int64]:
    """Return (objects,) the position of the image of every object of an index."""
    return np.repeat(np.arange(len(arrays["image_ids"])), np.diff(arrays["object_offsets"]))


def _open(folder: Path, described: Mapping[str, str]) -> dict[str, NDArray[Any]]:
    """Map arrays; descriptions such as "int32 (n, 2): height, width" begin with their type and shape."""
    arrays = {}
    for name, description in described.items():
        path = folder / f"{name}.npy"
        array = arrays[name] = map_array(path, hint=PREPARE_AGAIN)
        dtype, *axes = description.partition(":")[0].replace(",)", ")").split(" ", maxsplit=1)
        expected = len("".join(axes).split(",")) if axes else 1
        if array.dtype != np.dtype(dtype) or array.ndim != expected:
            problem = f"has {array.dtype} in {array.ndim} axes, expected {dtype} in {expected}"
            raise UserError(problem, where=str(path), hint=PREPARE_AGAIN)
    return arrays
