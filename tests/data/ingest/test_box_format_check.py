"""Boxes that are right in another format than they are read in are reported, once a source."""

from __future__ import annotations

from typing import Any

import pytest

from codetr.data.config import BoxFormat
from codetr.data.formats.coco_columns import RawAnnotations
from codetr.data.ingest.box_format_check import note_other_box_format
from codetr.data.ingest.image_check import CheckedImage
from codetr.data.validation.findings import Findings
from codetr.data.validation.ids import ListedIds

IMAGE = CheckedImage(1, "a.jpg", height=240, width=320, upright=True, digest="sha256:00", file_size=1)


def noted(values: list[Any], box_format: BoxFormat = "xywh", written_as: BoxFormat = "xywh") -> list[str]:
    """The names of what is found."""
    findings = Findings()
    note_other_box_format(RawAnnotations(values), {1: IMAGE}, ListedIds([1]), findings, box_format, written_as)
    return [finding.name for finding in findings.all()]


@pytest.mark.parametrize("box", [[0.1, 0.2, 0.3, 0.4], ["0.1", "0.2", "0.3", "0.4"]])
def test_boxes_of_another_format_are_reported_once(box: list[Any]) -> None:
    assert noted([{"image_id": 1, "bbox": box}] * 3) == ["boxes_are_relative"]


def test_annotations_without_a_box_or_an_image_say_nothing() -> None:
    """Damaged records would decide in which format the others are read."""
    sound = [{"image_id": 1, "bbox": [10, 20, 30, 40]}] * 3
    damaged = [7, {}, {"image_id": 9, "bbox": [0, 0, 1, 1]}, {"image_id": 1, "bbox": "1234"}, {"image_id": 1}]
    assert noted([*sound, *damaged]) == []
    assert noted([]) == []
