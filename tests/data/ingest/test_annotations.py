"""Annotations from outside: whatever a file holds, the outcome is an object or a finding, never a crash or a loss."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codetr.data.annotation_table import CheckedAnnotation
from codetr.data.config import BoxFormat
from codetr.data.formats.coco_columns import RawAnnotations
from codetr.data.formats.raw_source import MalformedRow
from codetr.data.ingest.annotations import AnnotationReader
from codetr.data.ingest.image_check import CheckedImage
from codetr.data.validation.findings import Findings
from codetr.data.validation.ids import ListedIds
from tests.support.data.annotation_rows import rows

IMAGE = CheckedImage(1, "a.jpg", height=240, width=320, upright=True, digest="sha256:00", file_size=1)
GOOD = {"id": 5, "image_id": 1, "category_id": 2, "bbox": [10, 20, 30, 40], "area": 1200, "iscrowd": 0}
SQUARE = [[10, 20, 40, 20, 40, 60, 10, 60]]


def read(*values: Any) -> tuple[list[CheckedAnnotation], Findings]:
    return read_all(RawAnnotations(values))


def read_all(annotations: RawAnnotations, box_format: BoxFormat = "xywh") -> tuple[list[CheckedAnnotation], Findings]:
    findings = Findings()
    ids, category_ids = ListedIds([1, 9]), ListedIds([2])
    reader = AnnotationReader({1: IMAGE}, {1, 9}, ids, category_ids, {2: "cup"}, findings, box_format)
    return rows(reader.read(annotations)), findings


def test_a_sound_annotation_is_taken_as_it_is() -> None:
    entries, findings = read({**GOOD, "bbox": [0.1, 0.2, 30.3, 40.7], "area": 1233.21})
    assert entries == [CheckedAnnotation(5, 1, 2, (0.1, 0.2, 30.3, 40.7), 1233.21, False, True, None)]
    assert findings.summary() == "none"


@pytest.mark.parametrize(
    ("change", "finding"),
    [
        ({"image_id": 7}, "annotation_image_unknown"),
        ({"image_id": None}, "annotation_image_unknown"),
        ({"image_id": 9}, "annotation_image_dropped"),
        ({"category_id": 7}, "annotation_category_unknown"),
        ({"category_id": [2]}, "annotation_category_unknown"),
        ({"bbox": None}, "box_missing"),
        ({"bbox": [1, 2, 3]}, "box_malformed"),
        ({"bbox": {"x": 1}}, "box_malformed"),
        ({"bbox": [1, 2, 3, None]}, "box_malformed"),
        ({"bbox": [1, 2, 3, True]}, "box_malformed"),
        ({"bbox": ["a", 2, 3, 4]}, "box_malformed"),
        ({"bbox": ["nan", 2, 3, 4]}, "box_not_finite"),
        ({"bbox": [math.nan, 2, 3, 4]}, "box_not_finite"),
        ({"bbox": [1, 2, 10**400, 4]}, "box_not_finite"),
        ({"bbox": [10, 20, -3, 4]}, "box_negative"),
        ({"bbox": [10, 20, 0, 4]}, "box_empty"),
        ({"bbox": [320, 20, 3, 4]}, "box_outside"),
        ({"bbox": [-5, -5, 5, 5]}, "box_outside"),
    ],
)
def test_dropped(change: dict[str, Any], finding: str) -> None:
    entries, findings = read({**GOOD, **change})
    assert entries == []
    assert findings.summary("dropped") == f"{finding} 1"


@pytest.mark.parametrize(
    ("change", "finding", "expected"),
    [
        ({"bbox": ["10", "2e1", 30, "40.0"]}, "box_from_text", {"box_xywh": (10, 20, 30, 40)}),
        ({"bbox": [], "segmentation": SQUARE}, "box_from_segmentation", {"box_xywh": (10, 20, 30, 40)}),
        ({"bbox": [-10, 20, 30, 40]}, "box_exceeds_image", {"box_xywh": (-10, 20, 30, 40), "trainable": True}),
        ({"bbox": [10, 20, 0.5, 40], "area": 20}, "box_tiny", {"trainable": False, "iscrowd": False}),
        ({"bbox": [319.5, 20, 30, 40]}, "box_exceeds_image 1, box_tiny", {"trainable": False}),
        ({"area": None}, "area_missing", {"area": 1200}),
        ({"area": None, "segmentation": [[10, 20, 40, 20, 10, 60]]}, "area_missing", {"area": 600}),
        ({"area": math.nan}, "area_invalid", {"area": 1200}),
        ({"area": -4}, "area_invalid", {"area": 1200}),
        ({"area": "1200"}, "area_invalid", {"area": 1200}),
        ({"area": 10**400}, "area_invalid", {"area": 1200}),
        ({"area": 5000}, "area_disagrees", {"area": 5000}),
        ({"area": 600}, "area_disagrees", {"area": 600}),
        ({"area": 600, "segmentation": SQUARE}, None, {"area": 600}),
        ({"iscrowd": True}, "crowd_flag_converted", {"iscrowd": True, "trainable": False}),
        ({"iscrowd": "0"}, "crowd_flag_converted", {"iscrowd": False}),
        ({"iscrowd": None}, "crowd_flag_converted", {"iscrowd": False}),
        ({"iscrowd": 1}, None, {"iscrowd": True, "trainable": False}),
        ({"ignore": 1}, "annotation_ignored", {"iscrowd": False, "trainable": False}),
        ({"ignore": 0}, None, {"trainable": True}),
        ({"ignore": "0"}, None, {"trainable": True}),
        ({"id": 0}, "annotation_id_assigned", {"annotation_id": 1}),
        ({"id": "x"}, "annotation_id_assigned", {"annotation_id": 1}),
        ({"id": "12"}, None, {"annotation_id": 12}),
        ({"segmentation": "x"}, "segmentation_dropped", {"segmentation": None}),
        ({"segmentation": [*SQUARE, [1, 2]]}, "segmentation_part_dropped", {"segmentation": SQUARE}),
        ({"segmentation": SQUARE}, None, {"segmentation": SQUARE}),
    ],
)
def test_kept(change: dict[str, Any], finding: str | None, expected: dict[str, Any]) -> None:
    entries, findings = read({**GOOD, **change})
    assert findings.summary() == (f"{finding} 1" if finding else "none")
    (entry,) = entries
    assert {name: getattr(entry, name) for name in expected} == expected


def test_ids_are_unique_and_never_zero() -> None:
    entries, findings = read(GOOD, GOOD, {**GOOD, "id": 0}, {**GOOD, "id": 3})
    assert [entry.annotation_id for entry in entries] == [5, 6, 7, 3]
    assert findings.count("annotation_id_assigned") == 2
    assert findings.count("annotation_repeated") == 3


@pytest.mark.parametrize(
    "lost", [{**GOOD, "bbox": [10, 20, 0, 4]}, {**GOOD, "category_id": 7}, MalformedRow("0 0.5 0.5", 1)]
)
def test_an_image_that_lost_all_its_objects_is_distinguished_from_background(lost: Any) -> None:
    """It is trained on as if nothing were on it."""
    _, findings = read(lost, lost)
    (found,) = (finding for finding in findings.all() if finding.name == "image_emptied")
    assert (found.count, found.examples) == (1, ["image 1 'a.jpg': 2 dropped"])
    _, findings = read(lost, GOOD)
    assert findings.count("image_emptied") == 0
    _, findings = read()
    assert findings.summary() == "none"


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
NUMBER = st.floats(-400, 400) | st.integers(-400, 400) | ANYTHING
ANNOTATION = st.fixed_dictionaries(
    {},
    optional={
        "id": st.integers(-1, 3) | ANYTHING,
        "image_id": st.sampled_from([1, 9, "1"]) | ANYTHING,
        "category_id": st.just(2) | ANYTHING,
        "bbox": st.lists(NUMBER, min_size=4, max_size=4) | ANYTHING,
        "area": NUMBER,
        "iscrowd": st.sampled_from([0, 1]) | ANYTHING,
        "segmentation": st.lists(st.lists(NUMBER, min_size=6, max_size=8), max_size=2) | ANYTHING,
    },
)


@settings(max_examples=200)
@given(st.lists(ANNOTATION | ANYTHING, max_size=4))
def test_any_json_is_survived_and_accounted_for(values: list[Any]) -> None:
    entries, findings = read(*values)
    dropped = sum(finding.count for finding in findings.all() if finding.kind.action == "dropped")
    assert len(entries) + dropped == len(values)
    identifiers = [entry.annotation_id for entry in entries]
    assert len(set(identifiers)) == len(identifiers)
    assert 0 not in identifiers
    for entry in entries:
        assert entry.box_xywh[2] > 0
        assert entry.box_xywh[3] > 0
        json.dumps([entry.box_xywh, entry.area, entry.segmentation], allow_nan=False)


def test_corners_in_the_wrong_order_are_another_mistake_than_a_negative_size() -> None:
    """With --boxes xyxy, the advice was to check whether the boxes are corners."""
    wrong, sound = {**GOOD, "bbox": [90, 20, 40, 60]}, {**GOOD, "id": 6, "bbox": [10, 20, 40, 60]}
    entries, findings = read_all(RawAnnotations([wrong, sound]), "xyxy")
    assert [entry.box_xywh for entry in entries] == [(10, 20, 30, 40)]
    assert findings.count("box_inverted") == 1
    assert "leave out --boxes" in findings.all()[-1].kind.advice
