"""Annotations as a file lists them become objects that can be trained on and evaluated, or findings.

What the file says about a sound object is kept to the last bit: evaluation must give the numbers that the original
file gives. So a box that sticks out of its image stays as it is, and is clipped only when it is trained on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Set
from itertools import islice
from typing import Any, TypeGuard

import numpy as np
from numpy.typing import NDArray

from codetr.core.gc_pause import collecting_later
from codetr.data.formats.coco_columns import Annotations, Typed
from codetr.data.formats.raw_source import BrokenRow
from codetr.data.ingest.annotation_table import ObjectColumns, ObjectEntry, first_equal_row
from codetr.data.ingest.image_check import CheckedImage
from codetr.data.segmentation import BadSegmentationError, check_segmentation, mask_area, mask_bounding_box
from codetr.data.validation import rules
from codetr.data.validation.findings import Findings, short
from codetr.data.validation.ids import ImageIds, as_integer, make_unique

_TOGETHER = 1 << 12
"""Objects that are in memory one by one, before they become columns."""


class AnnotationReader:
    """Reads the annotations of one source.

    Args:
        images: the usable images by id.
        listed: ids of all images the source lists, usable or not.
        ids: how its image ids are resolved.
        categories: names by category id.
        findings: what is wrong is added here.

    Attributes:
        lost: (image id, category id) of every annotation that was dropped although these two can be used.
    """

    def __init__(
        self,
        images: Mapping[int, CheckedImage],
        listed: Set[int],
        ids: ImageIds,
        categories: Mapping[int, str],
        findings: Findings,
    ) -> None:
        self._images, self._listed, self._ids, self._categories = images, listed, ids, categories
        self._findings = findings
        self._dropped: Counter[int] = Counter()
        self.lost: list[tuple[int, int]] = []

    @collecting_later()
    def read(self, annotations: Annotations) -> ObjectColumns:
        """All usable annotations, in their order.

        What there is nothing to say about, by the rules for arrays, is taken as it is; all others are read one by one.
        """
        ids = make_unique(annotations.ids, annotations.ids == 0)
        typed = annotations.typed
        typed = typed.take((ids == annotations.ids)[typed.positions])
        with np.errstate(over="ignore", invalid="ignore"):  # numbers of any size, and NaN without segmentation
            sound = typed.take(self._is_sound(typed))
        doubtful = np.ones(len(annotations), bool)
        doubtful[sound.positions] = False
        read = (
            (position, entry)
            for position in np.flatnonzero(doubtful).tolist()
            if (entry := self._read_at(position, annotations, ids)) is not None
        )
        parts, places = [_taken(sound, annotations.text)], [sound.positions]
        while some := list(islice(read, _TOGETHER)):
            parts.append(ObjectColumns.of([entry for _, entry in some]))
            places.append(np.array([position for position, _ in some], np.int64))
        where = np.concatenate(places)
        order = np.argsort(where)
        objects, where = ObjectColumns.concatenate(parts).take(order), where[order]
        self._note_repetitions(objects, annotations, where)
        for image_id in self.emptied(objects.image_ids):
            shown = f"image {image_id} '{self._images[image_id].path}'"
            self._findings.add("image_emptied", f"{shown}: {self._dropped[image_id]} dropped")
        return objects

    def read_each(self, annotations: Annotations) -> Iterator[ObjectEntry | None]:
        """For every annotation in turn the object, or None where it cannot be used; that it repeats one is not said."""
        ids = make_unique(annotations.ids, annotations.ids == 0)
        for position in range(len(annotations)):
            yield self._read_at(position, annotations, ids)

    def emptied(self, kept: Iterable[int]) -> list[int]:
        """Ids of usable images of which annotations were dropped so far, and none was kept.

        Args:
            kept: the image ids of the objects that were.
        """
        return sorted(self._images.keys() & self._dropped.keys() - set(np.unique(np.asarray(kept)).tolist()))

    def _is_sound(self, typed: Typed) -> NDArray[np.bool_]:
        """(n,) for which there is nothing to find, and nothing to repair."""
        images = np.array(sorted(self._images), np.int64)
        if not len(images):
            return np.zeros(len(typed.ids), bool)
        found = np.minimum(np.searchsorted(images, typed.image_ids), len(images) - 1)
        sizes = np.array([(self._images[key].width, self._images[key].height) for key in images.tolist()])[found].T
        box, (x1, y1, x2, y2) = typed.boxes.T, typed.extents.T
        without_segmentation = np.isnan(x1)
        reached = rules.is_within_reach(typed.extents).all(axis=1) & ~rules.exceeds_image(x1, y1, x2, y2, *sizes)
        corners = box[0], box[1], box[0] + box[2], box[1] + box[3]
        sound: NDArray[np.bool_] = (
            (images[found] == typed.image_ids)
            & np.isin(typed.category_ids, list(self._categories))
            & (without_segmentation | reached)
            & rules.is_within_reach(typed.boxes).all(axis=1)
            & (typed.boxes[:, 2:] > 0).all(axis=1)
            & ~rules.exceeds_image(*corners, *sizes)
            & ~rules.is_tiny(*box, *sizes)  # nor outside, of which nothing is inside
            & rules.is_area(typed.areas)
            & ~rules.area_contradicts_box(typed.areas, box[2], box[3], without_segmentation)
        )
        return sound

    def _read_at(self, position: int, annotations: Annotations, ids: NDArray[np.int64]) -> ObjectEntry | None:
        value = annotations[position]
        identifier = int(ids[position])
        example = _example(position, value)
        if identifier != annotations.ids[position] and isinstance(value, dict):
            self._findings.add("annotation_id_assigned", f"{example}: now {identifier}")
        return self._read_one(value, identifier, example)

    def _note_repetitions(self, objects: ObjectColumns, annotations: Annotations, positions: NDArray[np.int64]) -> None:
        columns = (*objects.boxes.T, objects.category_ids, objects.crowds, objects.image_ids)
        for k in np.flatnonzero(first_equal_row(columns) >= 0):
            position = int(positions[k])
            shown = f"image {objects.image_ids[k]}, box {objects.boxes[k].tolist()}"
            self._findings.add("annotation_repeated", f"{_example(position, annotations[position])}: {shown}")

    def _read_one(self, value: Any, identifier: int, example: str) -> ObjectEntry | None:
        if not isinstance(value, dict):
            if isinstance(value, BrokenRow):
                self._dropped[value.image_id] += 1
                value = value.text
            self._findings.add("annotation_malformed", f"{example}: {short(value)}")
            return None
        image_id = self._ids.resolve(value.get("image_id"))
        if image_id is None or image_id not in self._listed:
            self._findings.add("annotation_image_unknown", f"{example}: image_id {short(value.get('image_id'))}")
            return None
        image = self._images.get(image_id)
        if image is None:
            self._findings.add("annotation_image_dropped", f"{example}: image {image_id}")
            return None
        category_id = as_integer(value.get("category_id"))
        if category_id is None or category_id not in self._categories:
            shown = short(value.get("category_id"))
            self._findings.add("annotation_category_unknown", f"{example}: category_id {shown}")
            self._dropped[image_id] += 1
            return None
        segmentation = self._segmentation(value, image, example)
        box = self._box(value, segmentation, image, example)
        if box is None:
            self.lost.append((image_id, category_id))
            self._dropped[image_id] += 1
            return None
        crowd = self._crowd(value, example)
        area = self._area(value, box, segmentation, image, example)
        fits = self._fits(box, image, example)
        ignored = bool(value.get("ignore"))
        if ignored:
            self._findings.add("annotation_ignored", example)
        trainable = fits and not crowd and not ignored
        return ObjectEntry(identifier, image_id, category_id, box, area, crowd, trainable, segmentation, ignored)

    def _segmentation(self, value: dict[str, Any], image: CheckedImage, example: str) -> Any:
        try:
            checked = check_segmentation(value.get("segmentation"), image.height, image.width)
        except BadSegmentationError as error:
            self._findings.add("segmentation_dropped", f"{example}: {error}")
            return None
        if checked is None:
            return None
        if checked.dropped_parts:
            self._findings.add("segmentation_part_dropped", f"{example}: {checked.dropped_parts}")
        if checked.exceeds_image:
            self._findings.add("segmentation_exceeds_image", example)
        return checked.value

    def _box(
        self, value: dict[str, Any], segmentation: Any, image: CheckedImage, example: str
    ) -> tuple[float, float, float, float] | None:
        raw = value.get("bbox")
        if raw is None or raw == []:
            if segmentation is None:
                self._findings.add("box_missing", example)
                return None
            raw = mask_bounding_box(segmentation, image.height, image.width)
            self._findings.add("box_from_segmentation", f"{example}: {raw}")
        numbers = self._numbers(raw, example)
        if numbers is None:
            return None
        x, y, width, height = numbers
        reason = None
        if width < 0 or height < 0:
            reason = "box_negative"
        elif width == 0 or height == 0:
            reason = "box_empty"
        elif rules.lies_outside(x, y, width, height, image.width, image.height):
            reason = "box_outside"
        if reason:
            shown = f"{list(numbers)} in an image of {image.width}x{image.height}"
            self._findings.add(reason, f"{example}: {shown}")
            return None
        return x, y, width, height

    def _numbers(self, raw: Any, example: str) -> tuple[float, float, float, float] | None:
        if not isinstance(raw, list) or len(raw) != 4:
            self._findings.add("box_malformed", f"{example}: {short(raw)}")
            return None
        numbers: list[float] = []
        from_text = False
        for item in raw:
            if isinstance(item, str):
                from_text = True
                try:
                    item = float(item)  # noqa: PLW2901
                except ValueError:
                    item = None  # noqa: PLW2901
            if not _is_number(item):
                self._findings.add("box_malformed", f"{example}: {short(raw)}")
                return None
            if not rules.is_within_reach(item):
                self._findings.add("box_not_finite", f"{example}: {short(raw)}")
                return None
            numbers.append(float(item))
        if from_text:
            self._findings.add("box_from_text", f"{example}: {short(raw)}")
        x, y, width, height = numbers
        return x, y, width, height

    def _fits(self, box: tuple[float, float, float, float], image: CheckedImage, example: str) -> bool:
        """Whether enough of the box is inside the image to learn from."""
        x, y, width, height = box
        shown = f"{example}: {list(box)} in an image of {image.width}x{image.height}"
        if rules.exceeds_image(x, y, x + width, y + height, image.width, image.height):
            self._findings.add("box_exceeds_image", shown)
        if rules.is_tiny(x, y, width, height, image.width, image.height):
            self._findings.add("box_tiny", shown)
            return False
        return True

    def _crowd(self, value: dict[str, Any], example: str) -> bool:
        raw = value.get("iscrowd", 0)
        if isinstance(raw, int) and not isinstance(raw, bool) and raw in (0, 1):
            return bool(raw)
        crowd = raw.strip().lower() not in ("", "0", "false", "no") if isinstance(raw, str) else bool(raw)
        self._findings.add("crowd_flag_converted", f"{example}: {short(raw)} is {int(crowd)}")
        return crowd

    def _area(
        self,
        value: dict[str, Any],
        box: tuple[float, float, float, float],
        segmentation: Any,
        image: CheckedImage,
        example: str,
    ) -> float:
        box_area = box[2] * box[3]
        raw = value.get("area")
        # The bound also keeps integers too long for a float out.
        if not _is_number(raw) or not rules.is_area(raw):
            if raw is None:
                self._findings.add("area_missing", example)
            else:
                self._findings.add("area_invalid", f"{example}: {short(raw)}")
            return box_area if segmentation is None else mask_area(segmentation, image.height, image.width)
        if rules.area_contradicts_box(raw, box[2], box[3], segmentation is None):
            self._findings.add("area_disagrees", f"{example}: {raw}, the box has {box_area:.6g}")
        return float(raw)


def _taken(typed: Typed, text: bytes) -> ObjectColumns:
    """Sound annotations as the objects that they are."""
    count = len(typed.ids)
    return ObjectColumns(
        annotation_ids=typed.ids,
        image_ids=typed.image_ids,
        category_ids=typed.category_ids,
        boxes=typed.boxes,
        areas=typed.areas,
        crowds=typed.crowds,
        trainable=~typed.crowds,
        ignored=np.zeros(count, bool),
        segmentations=np.insert(typed.segmentations, 0, 0, axis=1),
        texts=(text,),
    )


def _example(position: int, value: Any) -> str:
    shown = f" (id {short(value['id'])})" if isinstance(value, dict) and "id" in value else ""
    return f"annotations[{position}]{shown}"


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)
