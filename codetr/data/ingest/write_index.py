"""Write the index of a split: images, annotations and masks as memory-mapped arrays."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from codetr.core.system.gc_pause import paused_gc
from codetr.data.annotation_table import AnnotationTable
from codetr.data.ingest.image_check import CheckedImage
from codetr.data.storage import tar


def build_index(
    images: Sequence[CheckedImage], objects: AnnotationTable, labels: Mapping[int, int]
) -> dict[str, NDArray[Any]]:
    """Return the arrays of the index of one split by name.

    They are those of `ARRAYS`, with `FEDERATED_ARRAYS` where images list verified classes, and the arrays of
    `codetr.data.storage.tar` where images are in tar files.

    Args:
        images: in the order of the index.
        objects: annotations of these images, in any order; those of one image keep their order.
        labels: label by category id.
    """
    texts: list[bytes] = []
    arrays = _without_segmentations(images, objects, labels, texts.append)
    return {**arrays, "segmentations": np.frombuffer(b"".join(texts), np.uint8)}


@paused_gc()
def write_index(
    folder: Path, images: Sequence[CheckedImage], objects: AnnotationTable, labels: Mapping[int, int]
) -> None:
    """Write the index of one split into the new folder `folder`; the other arguments are those of `build_index`.

    Segmentations, which take most of the space, are never in memory all at once.
    """
    folder.mkdir(parents=True)
    with (folder / "segmentations.npy").open("wb") as stream:
        _write_header(stream, 0)
        arrays = _without_segmentations(images, objects, labels, stream.write)
        stream.seek(0)
        _write_header(stream, int(arrays["segmentation_offsets"][-1]))
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array, allow_pickle=False)


def _without_segmentations(
    images: Sequence[CheckedImage],
    objects: AnnotationTable,
    labels: Mapping[int, int],
    write: Callable[[bytes], object],
) -> dict[str, NDArray[Any]]:
    """Return all arrays of an index except `segmentations`, the parts of which are passed to `write` in order."""
    ordered = objects.take(np.argsort(_image_of(images, objects), kind="stable"))
    lengths = [np.array([], np.int64)]
    for text, sizes in ordered.segmentation_texts():
        write(text)
        lengths.append(sizes)
    return {
        **_image_arrays(images, ordered, labels),
        **_object_arrays(ordered, labels),
        "segmentation_offsets": _offsets(np.concatenate(lengths)),
    }


def _image_of(images: Sequence[CheckedImage], objects: AnnotationTable) -> NDArray[np.int64]:
    """Return (objects,) positions of the images of the objects."""
    identifiers = np.array([image.image_id for image in images], np.int64)
    order = np.argsort(identifiers)
    return order[np.searchsorted(identifiers, objects.image_ids, sorter=order)]


def _image_arrays(
    images: Sequence[CheckedImage], ordered: AnnotationTable, labels: Mapping[int, int]
) -> dict[str, NDArray[Any]]:
    paths = [image.path.encode() for image in images]
    digests = b"".join(bytes.fromhex(image.digest.removeprefix("sha256:")) for image in images)
    arrays: dict[str, NDArray[Any]] = {
        "image_ids": np.array([image.image_id for image in images], np.int64),
        "sizes": np.array([(image.height, image.width) for image in images], np.int32).reshape(-1, 2),
        "upright": np.array([image.upright for image in images], bool),
        "digests": np.frombuffer(digests, np.uint8).reshape(-1, 32),
        "file_sizes": np.array([image.file_size for image in images], np.int64),
        "perceptual_hashes": np.array([image.perceptual_hash for image in images], np.uint64),
        "paths": np.frombuffer(b"".join(paths), np.uint8),
        "path_offsets": _offsets([len(path) for path in paths]),
        "object_offsets": _offsets(np.bincount(_image_of(images, ordered), minlength=len(images))),
    }
    arrays |= tar.shard_arrays(images)
    verified = [image.verified for image in images]
    if any(entry is not None for entry in verified):
        arrays["verified"] = np.array([entry is not None for entry in verified], bool)
        arrays["ignored"] = ordered.ignored
        for name in ("negative", "not_exhaustive"):
            lists = [[labels[k] for k in getattr(entry, name)] if entry else [] for entry in verified]
            arrays[f"{name}_labels"] = np.array([label for part in lists for label in part], np.int32)
            arrays[f"{name}_offsets"] = _offsets([len(part) for part in lists])
    return arrays


def _object_arrays(ordered: AnnotationTable, labels: Mapping[int, int]) -> dict[str, NDArray[Any]]:
    categories = np.array(list(labels), np.int64)
    numbers = np.array(list(labels.values()), np.int32)
    order = np.argsort(categories)
    return {
        "annotation_ids": ordered.annotation_ids,
        "boxes_xywh": ordered.boxes_xywh,
        "labels": numbers[order[np.searchsorted(categories, ordered.category_ids, sorter=order)]],
        "areas": ordered.areas,
        "iscrowd": ordered.iscrowd,
        "trainable": ordered.trainable,
    }


def _offsets(lengths: Sequence[int] | NDArray[np.int64]) -> NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]).astype(np.int64)


def _write_header(stream: BinaryIO, length: int) -> None:
    """Write the header of an array of bytes; NumPy pads it to one size for all lengths."""
    header = {"descr": np.lib.format.dtype_to_descr(np.dtype(np.uint8)), "fortran_order": False, "shape": (length,)}
    np.lib.format.write_array_header_1_0(stream, header)
