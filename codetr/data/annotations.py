"""Annotations as a file lists them become objects that can be trained on and evaluated, or findings.

What the file says about a sound object is kept to the last bit: evaluation must give the numbers that the original
file gives. So a box that sticks out of its image stays as it is, and is clipped only when it is trained on.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass
from typing import Any, TypeGuard

from codetr.data import segmentation
from codetr.data.check import CheckedImage
from codetr.data.findings import Findings, short
from codetr.data.ids import ImageIds, as_integer

MAX_COORDINATE = segmentation.MAX_COORDINATE


@dataclass(frozen=True)
class ObjectEntry:
    """One usable annotation.

    Attributes:
        annotation_id: unique in its file, never 0.
        image_id: its image.
        category_id: its category.
        box: (x, y, width, height) in pixels of the image.
        area: square pixels; decides the size range it is evaluated in.
        crowd: a region of several objects: evaluated as one to be ignored, never trained on.
        trainable: not a crowd, not marked with ignore, and at least a pixel wide and high inside the image.
        outline: checked polygons or run-length code, or None.
        ignored: marked with `ignore`, which LVIS's metrics heed and COCO's do not.
    """

    annotation_id: int
    image_id: int
    category_id: int
    box: tuple[float, float, float, float]
    area: float
    crowd: bool
    trainable: bool
    outline: list[list[float]] | dict[str, Any] | None
    ignored: bool = False


class AnnotationReader:
    """Reads the annotations of one file.

    Args:
        images: the usable images by id.
        listed: ids of all images the file lists, usable or not.
        ids: how the file's image ids are resolved.
        categories: names by category id.
        findings: what is wrong is added here.
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

    def read(self, values: list[Any]) -> list[ObjectEntry]:
        """All usable annotations, in the file's order."""
        return [entry for entry in self.read_each(values) if entry is not None]

    def read_each(self, values: list[Any]) -> Iterator[ObjectEntry | None]:
        """For every annotation in turn the object, or None where it cannot be used."""
        given = [as_integer(value.get("id")) if isinstance(value, dict) else None for value in values]
        free = max((identifier for identifier in given if identifier is not None), default=0)
        free = max(free, 0) + 1
        used: set[int] = set()
        seen: set[tuple[Any, ...]] = set()
        for position, value in enumerate(values):
            identifier = given[position]
            example = f"annotations[{position}]"
            if isinstance(value, dict) and "id" in value:
                example += f" (id {short(value['id'])})"
            if identifier is None or identifier == 0 or identifier in used:
                identifier, free = free, free + 1
                if isinstance(value, dict):
                    self._findings.add("annotation_id_assigned", f"{example}: now {identifier}")
            used.add(identifier)
            entry = self._read_one(value, identifier, example)
            if entry is None:
                yield None
                continue
            key = (entry.image_id, entry.category_id, entry.box, entry.crowd)
            if key in seen:
                self._findings.add("annotation_repeated", f"{example}: image {entry.image_id}, box {list(entry.box)}")
            seen.add(key)
            yield entry

    def _read_one(self, value: Any, identifier: int, example: str) -> ObjectEntry | None:
        if not isinstance(value, dict):
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
            return None
        outline = self._outline(value, image, example)
        box = self._box(value, outline, image, example)
        if box is None:
            return None
        crowd = self._crowd(value, example)
        area = self._area(value, box, outline, image, example)
        fits = self._fits(box, image, example)
        ignored = bool(value.get("ignore"))
        if ignored:
            self._findings.add("annotation_ignored", example)
        trainable = fits and not crowd and not ignored
        return ObjectEntry(identifier, image_id, category_id, box, area, crowd, trainable, outline, ignored)

    def _outline(self, value: dict[str, Any], image: CheckedImage, example: str) -> Any:
        try:
            checked = segmentation.check_segmentation(value.get("segmentation"), image.height, image.width)
        except segmentation.BadSegmentationError as error:
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
        self, value: dict[str, Any], outline: Any, image: CheckedImage, example: str
    ) -> tuple[float, float, float, float] | None:
        raw = value.get("bbox")
        if raw is None or raw == []:
            if outline is None:
                self._findings.add("box_missing", example)
                return None
            raw = segmentation.bounding_box(outline, image.height, image.width)
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
        elif x >= image.width or y >= image.height or x + width <= 0 or y + height <= 0:
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
            if not abs(item) <= MAX_COORDINATE:  # NaN is not less than anything
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
        if x < -1 or y < -1 or x + width > image.width + 1 or y + height > image.height + 1:
            self._findings.add("box_exceeds_image", shown)
        inner_width = min(x + width, image.width) - max(x, 0)
        inner_height = min(y + height, image.height) - max(y, 0)
        if inner_width < 1 or inner_height < 1:
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
        outline: Any,
        image: CheckedImage,
        example: str,
    ) -> float:
        box_area = box[2] * box[3]
        raw = value.get("area")
        # The bound also keeps integers too long for a float out.
        if not _is_number(raw) or not 0 <= raw <= MAX_COORDINATE**2:
            if raw is None:
                self._findings.add("area_missing", example)
            else:
                self._findings.add("area_invalid", f"{example}: {short(raw)}")
            return box_area if outline is None else segmentation.area(outline, image.height, image.width)
        if area_contradicts_box(raw, box[2], box[3], outline is None):
            self._findings.add("area_disagrees", f"{example}: {raw}, the box has {box_area:.6g}")
        return float(raw)


def area_contradicts_box(area: Any, width: Any, height: Any, without_outline: Any) -> Any:
    """Whether an area is larger than its box or, without an outline, not that of the box; of numbers or of arrays."""
    box = width * height
    tolerance = 1 + 0.01 * box
    # Outlines and boxes are rounded separately, so a mask may exceed its box by its circumference.
    return (area > box + tolerance + 2 * (width + height)) | (without_outline & (abs(area - box) > tolerance))


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)
