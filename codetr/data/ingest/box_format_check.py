"""Whether the boxes of a source are written in the format in which they are read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from codetr.data.box_format import from_xywh, recognise_box_format
from codetr.data.config import BoxFormat
from codetr.data.formats.coco_columns import RawAnnotations
from codetr.data.ingest.image_check import CheckedImage
from codetr.data.validation import rules
from codetr.data.validation.annotation_findings import BOX_FORMAT_FINDINGS
from codetr.data.validation.findings import Findings
from codetr.data.validation.ids import ListedIds

_EXAMINED = 10_000
"""Boxes from which their format is recognised, at most."""


def note_other_box_format(
    annotations: RawAnnotations,
    images: Mapping[int, CheckedImage],
    ids: ListedIds,
    findings: Findings,
    box_format: BoxFormat,
    written_as: BoxFormat,
) -> None:
    """Report boxes of which nearly all are wrong as they are read, and right in another format.

    Args:
        annotations: of the source.
        images: the usable images by id.
        ids: resolves image ids.
        findings: receives what is found.
        box_format: how the boxes are read.
        written_as: how they were written in the files, if these have another format than COCO and were converted.
    """
    converted = written_as != "xywh"
    boxes, sizes = [], []
    for value in _sample(annotations):
        raw = value.get("bbox")
        numbers = [rules.as_number(item) for item in raw] if isinstance(raw, list) else []
        if len(numbers) != 4 or not all(map(rules.is_number, numbers)) or (converted and value.get("segmentation")):
            continue
        image = images.get(ids.resolve(value.get("image_id")) or 0)
        if image is not None and all(map(rules.is_within_reach, numbers)):
            boxes.append(numbers)
            sizes.append((image.width, image.height))
    array, sizes_wh = np.array(boxes, float).reshape(-1, 4), np.array(sizes, float).reshape(-1, 2)
    assumed = box_format
    if converted:
        assumed = written_as
        array = from_xywh(array, sizes_wh, assumed)
        if assumed == "xyxy":
            array[:, :2] += 1  # VOC counts pixels from 1
    found = recognise_box_format(array, sizes_wh, assumed)
    if found == assumed:
        return
    shown = f"{[round(number, 6) for number in array[0].tolist()]} in an image of {sizes[0][0]}x{sizes[0][1]}"
    example = f"{len(annotations)} annotations are read as {assumed}, e.g. {shown}"
    with findings.of_entry("boxes", 0):
        if converted:
            findings.add("boxes_of_other_format", f"{example}: they are valid as {found}")
        else:
            findings.add(BOX_FORMAT_FINDINGS[found], example)


def _sample(annotations: RawAnnotations) -> Iterator[dict[str, Any]]:
    """Yield annotations at equal distances, without those that are no objects of JSON."""
    count = len(annotations)
    for position in np.unique(np.linspace(0, count - 1, min(count, _EXAMINED)).astype(int)).tolist():
        if isinstance(value := annotations[position], dict):
            yield value
