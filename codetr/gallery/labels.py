"""Pictures of the labels of a dataset: boxes, masks and names over the images."""

from __future__ import annotations

import fnmatch
import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import PurePath

import numpy as np
from numpy.typing import NDArray

from codetr.core.errors import UserError, did_you_mean, listed
from codetr.data.dataset.classes import labels_of_classes
from codetr.data.dataset.split import ImageRecord, Split
from codetr.data.storage.image_error import BadImageError
from codetr.gallery.picture import GalleryPicture, reduced_mask
from codetr.visual.drawing import Box, draw_boxes, elide
from codetr.visual.picture_length import picture_length

logger = logging.getLogger(__name__)


def matching_images(split: Split, *, classes: Sequence[str] = (), images: Sequence[str] = ()) -> NDArray[np.int64]:
    """Return the images of a split that can be shown.

    Args:
        split: the images.
        classes: names of classes; only images with an object of one of them are chosen from.
        images: files relative to the image folder, or their names, with or without suffix, or image ids; with
            wildcards for several. Those are chosen, in the order of the split.

    Returns:
        (n,) int64 indices of images, ascending.

    Raises:
        UserError: no image or no class of that name, no image with these classes, or no image at all.
    """
    if not len(split):
        raise UserError(f"the split '{split.name}' has no images", where=str(split.dataset))
    chosen = np.arange(len(split))
    if images:
        chosen = _named(split, images)
    if classes:
        labels = labels_of_classes(split.names, classes)
        offsets = split.arrays["object_offsets"]
        present = np.isin(split.labels, labels)
        before = np.concatenate([[0], np.cumsum(present)])  # objects before each one that have a class of these
        chosen = chosen[np.diff(before[offsets])[chosen] > 0]
        if not len(chosen):
            of = " that are named" if images else ""
            problem = f"none of the images{of} in the split '{split.name}' has an object of {listed(classes, 5)}"
            raise UserError(problem, where=str(split.dataset))
    return chosen


def draw_sample(images: NDArray[np.int64], limit: int, seed: int) -> list[int]:
    """Return at most `limit` of these images, a random sample in their order."""
    if len(images) > limit:
        images = np.sort(np.random.default_rng(seed).choice(images, limit, replace=False))
    return [int(i) for i in images]


def _named(split: Split, images: Sequence[str]) -> NDArray[np.int64]:
    """Return the indices of images by path, name, stem, id or pattern."""
    paths = [PurePath(split.relative_path(i)) for i in range(len(split))]
    found: set[int] = set()
    for given in images:
        matching = [i for i, path in enumerate(paths) if given in (str(path), path.name, path.stem)]
        if not matching and given.isdecimal():
            matching = np.flatnonzero(split.image_ids == int(given)).tolist() if len(given) < 19 else []
        if not matching:
            matching = [i for i, path in enumerate(paths) if _matches(path, given)]
        if not matching:
            hint = did_you_mean(PurePath(given).name, {path.name for path in paths}).strip()
            problem = f"the split '{split.name}' has no image '{given}'"
            raise UserError(problem, where=str(split.dataset), hint=hint or "Name a file, its stem, or an image id.")
        found.update(matching)
    return np.array(sorted(found), np.int64)


def _matches(path: PurePath, pattern: str) -> bool:
    return fnmatch.fnmatchcase(str(path), pattern) or fnmatch.fnmatchcase(path.name, pattern)


def label_pictures(
    split: Split, images: Sequence[int], classes: Sequence[str], long_side: int | None
) -> Iterator[GalleryPicture]:
    """Draw images with their labels. Images that cannot be read are left out, with a warning.

    Objects that are trained on have solid lines, others dashed ones; crowd regions are grey.

    Args:
        split: the images.
        images: indices.
        classes: draw only objects of these classes; all if there are none.
        long_side: longer side of the pictures in pixels; None for a size at which labels can be read.

    Raises:
        UserError: none of the images can be read.
    """
    labels = labels_of_classes(split.names, classes) if classes else list(range(len(split.names)))
    drawn, failed = 0, None
    for i in images:
        record = split.record(i)
        try:
            pixels = record.read()
        except BadImageError as error:
            logger.warning("left out: %s", error)
            failed = error
            continue
        drawn += 1
        objects = [k for k in np.argsort(-record.areas, kind="stable").tolist() if record.labels[k] in labels]
        height, width = pixels.shape[:2]
        side = picture_length(height, width) if long_side is None else long_side
        boxes = [_box(split, record, k, side) for k in objects]
        name = split.relative_path(i)
        caption = f"{name}, {width}x{height}: {count_objects([split.names[record.labels[k]] for k in objects])}"
        picture = draw_boxes(pixels, boxes, long_side=side)
        yield GalleryPicture(name, caption, picture, [int(record.labels[k]) for k in objects])
    if failed is not None and not drawn:
        raise failed


def _box(split: Split, record: ImageRecord, k: int, side: int) -> Box:
    x, y, width, height = record.boxes_xywh[k].tolist()
    label, name = int(record.labels[k]), elide(split.names[record.labels[k]])
    mask = reduced_mask(record.mask(k), side) if record.segmentations[k] else None
    corners = x, y, x + width, y + height
    if record.iscrowd[k]:
        return Box(corners, None, f"{name} (crowd)", dashed=True, mask=mask)
    return Box(corners, label, name, dashed=not record.trainable[k], mask=mask)


def count_objects(names: Sequence[str]) -> str:
    """Return the number of objects of each class as text, the most frequent first: `3 person, 1 car`."""
    counts = Counter(names).most_common()
    return listed([f"{count} {elide(name)}" for name, count in counts], 8) or "no objects"
