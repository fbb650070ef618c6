"""Repair the annotations of a file: write what reading corrected, then correct what the examination finds.

Segmentations are clipped at the border of the image; then boxes are made to fit them and are clipped; then areas are
computed again; then objects without extent and duplicates are removed. Each step depends on the ones before it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from dataclasses import replace
from typing import Any

import numpy as np

from codetr.data.annotation_table import CheckedAnnotation
from codetr.data.dataset.split import Split
from codetr.data.formats.coco_columns import RawAnnotations
from codetr.data.segmentation import is_absent, mask_area
from codetr.data.validation.findings import ReadEntry
from codetr.data.validation.rules import encloses_nothing
from codetr.doctor import box_checks
from codetr.doctor.box_checks import SplitObjects
from codetr.doctor.changes import Changes
from codetr.doctor.segmentations import measure_segmentations


def repair_annotations(
    values: RawAnnotations, read: Mapping[int, ReadEntry], split: Split, leaked: Set[int], changes: Changes
) -> Iterator[Any]:
    """Yield the annotations of the repaired file, in their order.

    Args:
        values: the annotations of the file.
        read: what reading made of those that are not in the index as they are in the file, by position.
        split: the index of the file.
        leaked: ids of images that are left out, because a later split has them.
        changes: what is changed is added here.
    """
    repair = _Repair(values, read, split)
    for position, value in enumerate(values):
        k = repair.objects_at.get(position)
        if k is None:
            changes.remove("annotations", position, value, read[position].findings)
        elif repair.image_id(k) in leaked:
            changes.remove("annotations", position, value, ["image_leaked"])
        elif k in repair.removed:
            changes.remove("annotations", position, value, repair.removed[k])
        elif position in read or k in repair.corrected:
            new = _written(value, repair.annotation(k))
            changes.correct("annotations", position, value, new, repair.findings.get(k, []))
            yield new
        else:
            yield value


class _Repair:
    """The corrections of all objects of an index.

    Attributes:
        objects_at: object by position of its annotation; nothing for those that reading dropped.
        findings: kinds of finding by object.
        corrected: objects that differ from the index.
        removed: objects to be left out, with the reasons.
    """

    def __init__(self, values: RawAnnotations, read: Mapping[int, ReadEntry], split: Split) -> None:
        self._split, self._arrays = split, split.arrays
        self._objects, self._segmentations = SplitObjects.of(split.arrays), measure_segmentations(split.arrays)
        self.objects_at = _objects_at(values, read, self._arrays["annotation_ids"])
        self.findings = {
            self.objects_at[position]: list(entry.findings)
            for position, entry in read.items()
            if position in self.objects_at
        }
        self.corrected: dict[int, CheckedAnnotation] = {}
        self.removed: dict[int, list[str]] = {}
        with np.errstate(invalid="ignore"):  # comparisons with the NaN of objects without segmentation
            self._clip_segmentations()
            self._correct_boxes()
            self._correct_areas()
        self._remove_duplicates()

    def image_id(self, k: int) -> int:
        """Return the id of the image of object `k`."""
        return int(self._arrays["image_ids"][self._objects.image_index[k]])

    def annotation(self, k: int) -> CheckedAnnotation:
        """Return object `k`, corrected."""
        if k in self.corrected:
            return self.corrected[k]
        arrays = self._arrays
        x, y, width, height = arrays["boxes_xywh"][k].tolist()
        return CheckedAnnotation(
            annotation_id=int(arrays["annotation_ids"][k]),
            image_id=self.image_id(k),
            category_id=self._split.category_ids[arrays["labels"][k]],
            box_xywh=(x, y, width, height),
            area=float(arrays["areas"][k]),
            iscrowd=bool(arrays["iscrowd"][k]),
            trainable=bool(arrays["trainable"][k]),
            segmentation=self._split.segmentation(k),
        )

    def _correct(self, k: int, finding: str, **fields: Any) -> None:
        self.corrected[k] = replace(self.annotation(k), **fields)
        if finding not in (findings := self.findings.setdefault(k, [])):
            findings.append(finding)

    def _clip_segmentations(self) -> None:
        objects = self._objects
        changed: dict[int, Any] = {}
        for k in np.flatnonzero(box_checks.segmentation_exceeds_image(objects, self._segmentations)).tolist():
            size = objects.sizes_wh[k].tolist()
            polygons = self._split.segmentation(k)
            assert isinstance(polygons, list)  # a run-length code cannot exceed its image
            clipped = [
                [min(max(number, 0), size[axis % 2]) for axis, number in enumerate(polygon)] for polygon in polygons
            ]
            inside = [polygon for polygon in clipped if not encloses_nothing(polygon)]
            changed[k] = inside or None
            self._correct(k, "segmentation_exceeds_image", segmentation=changed[k])
        self._segmentations = self._segmentations.replaced(changed)

    def _correct_boxes(self) -> None:
        objects, segmentations = self._objects, self._segmentations
        disagree = box_checks.box_disagrees_with_segmentation(objects, segmentations)
        exceed = box_checks.exceeds_image(objects)
        extents, inside = box_checks.clip(segmentations.extents_xyxy, objects.sizes_wh), objects.inside_xyxy
        boxes_xywh, boxes_xyxy = objects.boxes_xywh.copy(), objects.boxes_xyxy.copy()
        # A segmentation of less than a pixel says nothing about the object: a box around it would be removed.
        reduced = replace(
            objects, boxes_xywh=np.hstack([extents[:, :2], extents[:, 2:] - extents[:, :2]]), boxes_xyxy=extents
        )
        vanishing = disagree & box_checks.is_tiny(reduced) & ~box_checks.is_tiny(objects)
        for k in np.flatnonzero(vanishing).tolist():
            self._correct(k, "box_disagrees_with_segmentation", segmentation=None)
        self._segmentations = segmentations.replaced(dict.fromkeys(np.flatnonzero(vanishing).tolist()))
        disagree &= ~vanishing
        for k in np.flatnonzero(disagree | exceed).tolist():
            x1, y1, x2, y2 = (extents if disagree[k] else inside)[k].tolist()
            boxes_xywh[k], boxes_xyxy[k] = (x1, y1, x2 - x1, y2 - y1), (x1, y1, x2, y2)
            finding = "box_disagrees_with_segmentation" if disagree[k] else "box_exceeds_image"
            self._correct(k, finding, box_xywh=(x1, y1, x2 - x1, y2 - y1))
        self._objects = replace(objects, boxes_xywh=boxes_xywh, boxes_xyxy=boxes_xyxy)

    def _correct_areas(self) -> None:
        objects, segmentations = self._objects, self._segmentations
        checks = {
            "area_disagrees": box_checks.area_disagrees,
            "area_disagrees_with_segmentation": box_checks.area_disagrees_with_segmentation,
        }
        for finding, check in checks.items():  # no area has both
            for k in np.flatnonzero(check(objects, segmentations)).tolist():
                annotation = self.annotation(k)
                width, height = objects.sizes_wh[k].tolist()
                area = annotation.box_xywh[2] * annotation.box_xywh[3]
                if annotation.segmentation is not None:
                    area = mask_area(annotation.segmentation, height, width)
                self._correct(k, finding, area=area)

    def _remove_duplicates(self) -> None:
        """Remove objects without extent, then copies of others."""
        tiny = box_checks.is_tiny(self._objects)
        remaining, objects = np.flatnonzero(~tiny), self._objects.take(~tiny)
        repeated = box_checks.find_repeated(objects)
        same_class, _ = box_checks.find_near_copies(objects, repeated)
        for finding, removed in (
            ("box_tiny", np.flatnonzero(tiny)),
            ("annotation_repeated", remaining[repeated >= 0]),
            ("box_nearly_repeated", remaining[same_class >= 0]),
        ):
            for k in removed.tolist():
                self.removed[k] = list(dict.fromkeys([*self.findings.get(k, []), finding]))


def _objects_at(values: RawAnnotations, read: Mapping[int, ReadEntry], annotation_ids: Any) -> dict[int, int]:
    """Return the position in an index of every annotation that is in it, by its position in the file."""
    ids = values.ids.copy()
    kept = np.ones(len(ids), bool)
    for position, entry in read.items():
        if entry.value is None:
            kept[position] = False
        else:
            ids[position] = entry.value.annotation_id
    order = np.argsort(annotation_ids)
    positions = np.flatnonzero(kept)
    found = order[np.searchsorted(annotation_ids, ids[positions], sorter=order)]
    return dict(zip(positions.tolist(), found.tolist(), strict=True))


def _written(value: dict[str, Any], annotation: CheckedAnnotation) -> dict[str, Any]:
    """Return an entry of the file with the fields that differ replaced; equal numbers keep their spelling."""
    new = dict(value)
    for name, integer in (
        ("id", annotation.annotation_id),
        ("image_id", annotation.image_id),
        ("category_id", annotation.category_id),
        ("iscrowd", int(annotation.iscrowd)),
    ):
        raw = value.get(name, 0 if name == "iscrowd" else None)
        if type(raw) is not int or raw != integer:
            new[name] = integer
    if value.get("bbox") != list(annotation.box_xywh):
        new["bbox"] = list(annotation.box_xywh)
    if isinstance(value.get("area"), bool) or value.get("area") != annotation.area:
        new["area"] = annotation.area
    segmentation = value.get("segmentation")
    if annotation.segmentation is not None and segmentation != annotation.segmentation:
        new["segmentation"] = annotation.segmentation
    elif annotation.segmentation is None and not is_absent(segmentation):
        new["segmentation"] = []
    return new
