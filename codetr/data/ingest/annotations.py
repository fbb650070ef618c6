"""Check the annotations of a source: usable ones become rows of a table, everything else a finding.

The numbers of a valid annotation are kept to the last bit: an evaluation must give the metrics that the original file
gives. So a box that exceeds its image is stored as annotated, and clipped only for training.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Set
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codetr.core.system.gc_pause import paused_gc
from codetr.data.annotation_table import AnnotationTable, CheckedAnnotation, first_equal_row
from codetr.data.box_format import is_relative, to_xywh
from codetr.data.config import BoxFormat
from codetr.data.formats.coco_columns import RawAnnotations
from codetr.data.formats.raw_source import MalformedRow
from codetr.data.ingest.box_format_check import note_other_box_format
from codetr.data.ingest.category_shift import note_shifted_categories, shown_ids
from codetr.data.ingest.image_check import CheckedImage
from codetr.data.segmentation import BadSegmentationError, check_segmentation, mask_area, mask_bounding_box
from codetr.data.validation import rules
from codetr.data.validation.findings import Findings, short
from codetr.data.validation.ids import ListedIds, make_unique

_BATCH = 1 << 12
"""Annotations that are Python objects at a time, before they become rows of a table."""


class AnnotationReader:
    """Check the annotations of one source.

    Args:
        images: the usable images by id.
        listed: ids of all images the source lists, usable or not.
        ids: resolves its image ids.
        category_ids: resolves its category ids.
        categories: names by category id.
        findings: receives what is found.
        box_format: how the boxes are written.
        written_as: how they were written in the files, if these have another format than COCO and were converted.

    Attributes:
        lost: (image id, category id) of every annotation that was dropped although both ids are valid.
    """

    def __init__(
        self,
        images: Mapping[int, CheckedImage],
        listed: Set[int],
        ids: ListedIds,
        category_ids: ListedIds,
        categories: Mapping[int, str],
        findings: Findings,
        box_format: BoxFormat = "xywh",
        written_as: BoxFormat = "xywh",
    ) -> None:
        self._box_format, self._category_ids = box_format, category_ids
        self._written_as = written_as
        self._images, self._listed, self._ids, self._categories = images, listed, ids, categories
        self._findings = findings
        self._dropped: Counter[int] = Counter()
        self._unknown_categories: set[int | None] = set()
        self._known_categories = shown_ids(categories, category_ids)
        self.lost: list[tuple[int, int]] = []

    @paused_gc()
    def read(self, annotations: RawAnnotations) -> AnnotationTable:
        """Return all usable annotations, in their order.

        Rows of `annotations.table` in which the rules for arrays find nothing are used as they are; all other
        annotations are read one by one.
        """
        note_other_box_format(annotations, self._images, self._ids, self._findings, self._box_format, self._written_as)
        ids = make_unique(annotations.ids, annotations.ids == 0)
        positions = annotations.positions
        valid = self._is_valid(annotations.table, annotations.extents_xyxy) & (ids == annotations.ids)[positions]
        remaining = np.ones(len(annotations), bool)
        remaining[positions[valid]] = False
        read = (
            (position, entry)
            for position in np.flatnonzero(remaining).tolist()
            if (entry := self._read_at(position, annotations, ids)) is not None
        )
        tables, read_at = [annotations.table.take(valid)], [positions[valid]]
        while batch := list(islice(read, _BATCH)):
            tables.append(AnnotationTable.of([entry for _, entry in batch]))
            read_at.append(np.array([position for position, _ in batch], np.int64))
        positions = np.concatenate(read_at)
        order = np.argsort(positions)
        table, positions = AnnotationTable.concatenate(tables).take(order), positions[order]
        self._note_repetitions(table, annotations, positions)
        used = {*np.unique(table.category_ids).tolist(), *(category for _, category in self.lost)}
        note_shifted_categories(
            used, self._unknown_categories, self._categories.keys(), self._category_ids, self._findings
        )
        self._note_emptied_images(set(np.unique(table.image_ids).tolist()))
        return table

    def _note_emptied_images(self, kept: Set[int]) -> None:
        """Report usable images of which annotations were dropped, and that are not in `kept`, those that have some."""
        for image_id in sorted(self._images.keys() & self._dropped.keys() - kept):
            shown = f"image {image_id} '{self._images[image_id].path}'"
            with self._findings.of_entry("image files", image_id):
                self._findings.add("image_emptied", f"{shown}: {self._dropped[image_id]} dropped")

    def _is_valid(self, table: AnnotationTable, extents_xyxy: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Return (rows,) for which there is nothing to report, and nothing to repair."""
        image_ids = np.array(sorted(self._images), np.int64)
        if not len(image_ids) or self._box_format != "xywh":
            return np.zeros(len(table), bool)
        index = np.minimum(np.searchsorted(image_ids, table.image_ids), len(image_ids) - 1)
        sizes = np.array([(self._images[key].width, self._images[key].height) for key in image_ids.tolist()])[index].T
        box, (x1, y1, x2, y2) = table.boxes_xywh.T, extents_xyxy.T
        without_segmentation = np.isnan(x1)
        with np.errstate(over="ignore", invalid="ignore"):  # numbers of any size, and NaN without a segmentation
            reached = rules.is_within_reach(extents_xyxy).all(axis=1) & ~rules.exceeds_image(x1, y1, x2, y2, *sizes)
            corners = box[0], box[1], box[0] + box[2], box[1] + box[3]
            valid: NDArray[np.bool_] = (
                (image_ids[index] == table.image_ids)
                & np.isin(table.category_ids, list(self._categories))
                & (without_segmentation | reached)
                & rules.is_within_reach(table.boxes_xywh).all(axis=1)
                & (table.boxes_xywh[:, 2:] > 0).all(axis=1)
                & ~rules.exceeds_image(*corners, *sizes)
                & ~rules.is_tiny(*box, *sizes)  # a box outside of the image is, too
                & rules.is_area(table.areas)
                & ~rules.area_contradicts_box(table.areas, box[2], box[3], without_segmentation)
                & ~rules.seems_relative(x2, y2, box[2], box[3])
            )
        return valid

    def _read_at(self, position: int, annotations: RawAnnotations, ids: NDArray[np.int64]) -> CheckedAnnotation | None:
        value = annotations[position]
        identifier = int(ids[position])
        example = _example(position, value)
        with self._findings.of_entry("annotations", position) as entry:
            if identifier != annotations.ids[position] and isinstance(value, dict):
                self._findings.add("annotation_id_assigned", f"{example}: now {identifier}")
            entry.value = checked = self._read_one(value, identifier, example)
        return checked

    def _note_repetitions(
        self, table: AnnotationTable, annotations: RawAnnotations, positions: NDArray[np.int64]
    ) -> None:
        columns = (*table.boxes_xywh.T, table.category_ids, table.iscrowd, table.image_ids)
        for k in np.flatnonzero(first_equal_row(columns) >= 0):
            position = int(positions[k])
            shown = f"image {table.image_ids[k]}, box {table.boxes_xywh[k].tolist()}"
            self._findings.add("annotation_repeated", f"{_example(position, annotations[position])}: {shown}")

    def _read_one(self, value: Any, identifier: int, example: str) -> CheckedAnnotation | None:
        if not isinstance(value, dict):
            if isinstance(value, MalformedRow):
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
        category_id = self._category_ids.resolve(value.get("category_id"))
        if category_id is None or category_id not in self._categories:
            shown = short(value.get("category_id"))
            self._unknown_categories.add(category_id)
            self._findings.add(
                "annotation_category_unknown",
                f"{example}: category_id {shown}; the categories are {self._known_categories}",
            )
            self._dropped[image_id] += 1
            return None
        if is_relative(self._box_format):
            value = _in_pixels(value, image)
        segmentation = self._segmentation(value, image, example)
        box = self._box(value, segmentation, image, example)
        if box is None:
            self.lost.append((image_id, category_id))
            self._dropped[image_id] += 1
            return None
        if isinstance(segmentation, list):
            xs, ys = ([number for part in segmentation for number in part[axis::2]] for axis in (0, 1))
            if rules.seems_relative(max(xs), max(ys), *box[2:]):
                self._findings.add(
                    "segmentation_dropped", f"{example}: is within a pixel; is it relative to the image?"
                )
                segmentation = None
        iscrowd = self._iscrowd(value, example)
        area = self._area(value, box, segmentation, image, example)
        fits = self._fits_image(box, image, example)
        ignored = _is_set(value.get("ignore"))
        if ignored:
            self._findings.add("annotation_ignored", example)
        trainable = fits and not iscrowd and not ignored
        return CheckedAnnotation(
            identifier, image_id, category_id, box, area, iscrowd, trainable, segmentation, ignored
        )

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
        given = raw is not None and raw != []
        if not given:
            if segmentation is None:
                self._findings.add("box_missing", example)
                return None
            raw = mask_bounding_box(segmentation, image.height, image.width)
            self._findings.add("box_from_segmentation", f"{example}: {raw}")
        numbers = self._numbers(raw, example)
        if numbers is None:
            return None
        if given:
            numbers = self._converted(numbers, image, example)
        x, y, width, height = numbers
        reason = None
        if width < 0 or height < 0:
            reason = "box_inverted" if self._box_format.endswith("xyxy") else "box_negative"
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
                item = rules.as_number(item)  # noqa: PLW2901
            if not rules.is_number(item):
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

    def _converted(
        self, numbers: tuple[float, float, float, float], image: CheckedImage, example: str
    ) -> tuple[float, float, float, float]:
        """Return a box of the format of the source as x, y, width, height in pixels."""
        if self._box_format == "xywh":
            return numbers
        converted = to_xywh(np.array([numbers]), np.array([[image.width, image.height]], float), self._box_format)
        x, y, width, height = converted[0].tolist()
        self._findings.add("box_converted", f"{example}: {list(numbers)} is now {[x, y, width, height]}")
        return x, y, width, height

    def _fits_image(self, box: tuple[float, float, float, float], image: CheckedImage, example: str) -> bool:
        """Return whether enough of the box is inside the image to learn from; report where it exceeds the image."""
        x, y, width, height = box
        shown = f"{example}: {list(box)} in an image of {image.width}x{image.height}"
        if rules.exceeds_image(x, y, x + width, y + height, image.width, image.height):
            self._findings.add("box_exceeds_image", shown)
        if rules.is_tiny(x, y, width, height, image.width, image.height):
            self._findings.add("box_tiny", shown)
            return False
        return True

    def _iscrowd(self, value: dict[str, Any], example: str) -> bool:
        raw = value.get("iscrowd", 0)
        if isinstance(raw, int) and not isinstance(raw, bool) and raw in (0, 1):
            return bool(raw)
        iscrowd = _is_set(raw)
        self._findings.add("crowd_flag_converted", f"{example}: {short(raw)} is {int(iscrowd)}")
        return iscrowd

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
        if self._box_format != "xywh" and rules.is_number(raw):
            # It may be computed from the same numbers.
            relative = is_relative(self._box_format)
            if relative or rules.area_contradicts_box(raw, box[2], box[3], segmentation is None):
                self._findings.add("area_invalid", f"{example}: {short(raw)}")
                return box_area if segmentation is None else mask_area(segmentation, image.height, image.width)
        # The bound also keeps integers too long for a float out.
        if not rules.is_number(raw) or not rules.is_area(raw):
            if raw is None:
                self._findings.add("area_missing", example)
            else:
                self._findings.add("area_invalid", f"{example}: {short(raw)}")
            return box_area if segmentation is None else mask_area(segmentation, image.height, image.width)
        if rules.area_contradicts_box(raw, box[2], box[3], segmentation is None):
            self._findings.add("area_disagrees", f"{example}: {raw}, the box has {box_area:.6g}")
        return float(raw)


def _is_set(flag: Any) -> bool:
    """Return whether a flag of any type is set; as text, "0" is not."""
    return flag.strip().lower() not in ("", "0", "false", "no") if isinstance(flag, str) else bool(flag)


def _in_pixels(value: dict[str, Any], image: CheckedImage) -> dict[str, Any]:
    """Return an annotation with its polygons in pixels, if all of their numbers are relative to the image."""
    polygons = value.get("segmentation")
    if not isinstance(polygons, list) or not polygons or not all(isinstance(polygon, list) for polygon in polygons):
        return value
    if not all(rules.is_number(number) and 0 <= number <= 1 for polygon in polygons for number in polygon):
        return value
    sides = (image.width, image.height)
    scaled = [[number * sides[axis % 2] for axis, number in enumerate(polygon)] for polygon in polygons]
    return {**value, "segmentation": scaled}


def _example(position: int, value: Any) -> str:
    shown = f" (id {short(value['id'])})" if isinstance(value, dict) and "id" in value else ""
    return f"annotations[{position}]{shown}"
