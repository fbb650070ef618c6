"""What is read as columns is what would have been read one by one: the same objects, findings and refusals."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codetr.core.errors import UserError
from codetr.data.annotation_table import CheckedAnnotation
from codetr.data.formats.coco import read_coco
from codetr.data.formats.coco_columns import CHUNK_BYTES, RawAnnotations
from codetr.data.ingest.annotations import AnnotationReader
from codetr.data.ingest.image_check import CheckedImage
from codetr.data.validation.findings import Findings
from codetr.data.validation.ids import ListedIds
from tests.support.data.annotation_rows import rows

IMAGES = {
    identifier: CheckedImage(identifier, f"{identifier}.jpg", height, width, True, f"sha256:0{identifier}", 1)
    for identifier, height, width in ((1, 240, 320), (2, 50, 40), (7, 100, 100))
}
CATEGORIES = {2: "cup", 3: "plate"}
SQUARE = [10, 20, 40, 20, 40, 60, 10, 60]
SOUND = {"segmentation": [SQUARE], "area": 1200.0, "iscrowd": 0, "image_id": 1, "bbox": [10, 20, 30, 40]}
SOUND |= {"category_id": 2, "id": 5}


def read_text(text: str, chunk_bytes: int = CHUNK_BYTES) -> RawAnnotations:
    content = text.encode()
    return RawAnnotations.of_text(content, 0, len(content), json.loads, chunk_bytes=chunk_bytes)


def outcome(annotations: RawAnnotations) -> tuple[list[CheckedAnnotation], dict[str, tuple[int, list[str]]], Any]:
    findings = Findings()
    reader = AnnotationReader(
        IMAGES, {*IMAGES, 9}, ListedIds([*IMAGES, 9, "x"]), ListedIds([*CATEGORIES]), CATEGORIES, findings
    )
    objects = rows(reader.read(annotations))
    return objects, {found.name: (found.count, found.examples) for found in findings.all()}, reader.lost


@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": "), (" ,\n ", "\t: ")])
def test_sound_annotations_are_columns(separators: tuple[str, str]) -> None:
    """Else all of this would be for nothing: a million annotations would go one by one."""
    values = [SOUND, {**SOUND, "id": 6, "segmentation": [SQUARE, SQUARE]}, {**SOUND, "id": 7, "segmentation": []}]
    values += [{**SOUND, "id": 8, "ignore": 0, "attributes": {"note": 'a "b": c', "id": 3}}]
    annotations = read_text(json.dumps(values, separators=separators))
    assert annotations.positions.tolist() == [0, 1, 2, 3]
    assert annotations.table.has_segmentation.tolist() == [True, True, False, True]
    assert list(annotations) == values


def test_numbers_stay_what_they_are_in_the_file() -> None:
    text = '[{"id": 5, "image_id": 1, "category_id": 2, "bbox": [10, 2e1, 30.10, 40], "area": 1203, '
    text += '"segmentation": [[10.123456789012345, 20, 4.0E1, 20, 40, 60.10]]}]'
    (entry,), findings, _ = outcome(read_text(text))
    assert entry.box_xywh == (10, 20, 30.1, 40)
    assert entry.segmentation == [[10.123456789012345, 20, 40, 20, 40, 60.1]]
    assert findings == {}


def test_a_text_is_cut_between_annotations_only() -> None:
    """What looks like the end of one may be in a text, or in a list of something else."""
    inner = {"parts": [{"a": 1}, {"b": [{}, {}]}], "note": '}, {"id": 1}, {'}
    values = [SOUND, {**SOUND, "id": 6, **inner}, {**inner, "id": 7}, {"id": 8}, 3, {**SOUND, "id": 9}, [{}, {}]]
    annotations = read_text(json.dumps(values), chunk_bytes=1)
    assert list(annotations) == values
    assert annotations.ids.tolist() == [5, 6, 7, 8, 0, 9, 0]
    assert annotations.positions.tolist() == [0, 1, 5]


NUMBERS = st.one_of(
    st.sampled_from(
        [0, -1, 0.5, 1, 10, -0.0, 39.5, 40, 41, 42, 320.4, 1e6, 1e6 + 1, 10**19, 10**400, -(10**30), "7", "x"]
    ),
    st.sampled_from([None, True, math.inf, math.nan, [], {}]),
    st.floats(-400, 400),
)
COORDINATES = st.sampled_from([-30, -1.5, -1, -0.5, 0, 38.5, 39.5, 48, 49.5, 99, 100, 238.5, 239.5, 240, 319.5])
SIDES = st.sampled_from([0.4, 0.9, 1, 1.5, 2, 12, 31])
FAULTS: dict[str, Any] = {
    "id": st.sampled_from([0, -3, 5, 6, 1 << 62, 10**30, "5", "x", 5.0, 5.5, None, True, [1]]),
    "image_id": st.sampled_from([2, 7, 9, 8, "1", "x", 1.0, None, 10**30, False]),
    "category_id": st.sampled_from([2, 3, 4, "2", 2.0, 2.5, None]),
    "bbox": st.lists(NUMBERS, min_size=4, max_size=4) | st.sampled_from([None, [], [1, 2, 3], "x", {"x": 1}]),
    "area": NUMBERS,
    "iscrowd": st.sampled_from([0, 1, 2, -1, True, None, "0", "yes", 1.0]),
    "ignore": st.sampled_from([0, 1, -1, True, False, None, "0"]),
    "segmentation": st.one_of(
        st.lists(st.lists(NUMBERS, max_size=8), max_size=3),
        st.lists(st.lists(COORDINATES, min_size=5, max_size=8), max_size=3),
        st.sampled_from([None, [], [[]], [[], SQUARE], [[], [1, 2]], [[[1]]], "x", 3, {}]),
        st.sampled_from([{"size": [240, 320], "counts": [10, 76790]}, {"size": [240, 320], "counts": "0"}]),
    ),
    "attributes": st.sampled_from([{"id": 3}, {"a": {"b": [1, {"c": 2}]}}, None]),
    "note": st.sampled_from(['"id": 4', "é:\\", "[[10, 20]]", "0", ""]),
}
MISSING = object()


@st.composite
def annotation(draw: st.DrawFn) -> Any:
    if draw(st.integers(0, 19)) == 0:
        return draw(st.sampled_from([None, 3, "{", [], {}, [SOUND], True]))
    value: dict[str, Any] = {**SOUND, "id": draw(st.integers(1, 30))}
    names = draw(st.lists(st.sampled_from([*FAULTS]), max_size=3, unique=True))
    value |= {name: draw(FAULTS[name] | st.just(MISSING)) for name in names}
    if draw(st.booleans()):  # a box near a border, of an area that fits it
        value["bbox"] = [draw(COORDINATES), draw(COORDINATES), draw(SIDES), draw(SIDES)]
        value |= {"area": value["bbox"][2] * value["bbox"][3], "segmentation": None}
    return dict(draw(st.permutations([(name, part) for name, part in value.items() if part is not MISSING])))


@settings(max_examples=400, deadline=None)
@given(st.lists(annotation(), max_size=12), st.sampled_from([None, 1, "\t"]), st.booleans(), st.sampled_from([1, 300]))
def test_columns_and_single_values_give_the_same(values: list[Any], indent: Any, ascii_only: bool, chunk: int) -> None:
    text = json.dumps(values, indent=indent, ensure_ascii=ascii_only)
    if "NaN" in text or "Infinity" in text:
        text = text.replace("NaN", "1e999").replace("Infinity", "1e999")
    expected = outcome(RawAnnotations(json.loads(text)))
    assert outcome(read_text(text, chunk)) == expected


def write(path: Path, annotations: str) -> Path:
    path.write_text('{"images": [{"id": 1}], "annotations": ' + annotations + ', "categories": [{"id": 2}]}')
    return path


def test_a_file_is_cut_where_its_list_of_annotations_is(tmp_path: Path) -> None:
    """Another list of that name, deeper in the file, must not be taken for it."""
    text = json.dumps({"info": {"annotations": [{"id": 4}]}, "annotations": [SOUND], "images": [1], "categories": [2]})
    (tmp_path / "a.json").write_text(text)
    file = read_coco(tmp_path / "a.json", Findings())
    assert file.annotations.table.annotation_ids.tolist() == [5]
    assert {**file.content, "annotations": list(file.annotations)} == json.loads(text)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (lambda text: text.replace('"area"', '"id"'), "an object has the key 'id' twice"),
        (lambda text: text.replace('"iscrowd": 0', '"area": 1200.0'), "an object has the key 'area' twice"),
        (lambda text: text.replace('"iscrowd": 0', '"x": 0, "x": 1'), "an object has the key 'x' twice"),
        (lambda text: text.replace('"iscrowd": 0', '"x": {"y": 1, "y": 1}'), "an object has the key 'y' twice"),
        (
            lambda text: text.replace('"iscrowd": 0', '"segmentation": null'),
            "an object has the key 'segmentation' twice",
        ),
        (lambda text: text.replace('"iscrowd": 0', '"\\u0069d": 5'), "an object has the key 'id' twice"),
        (lambda text: text.replace("1200.0", "9" * 5000), "is not valid JSON: Exceeds the limit"),
        (lambda text: text.replace("1200.0", "[" * 5000 + "]" * 5000), "is nested too deeply"),
        (lambda text: text.replace("1200.0", "1200."), "is not valid JSON (line 1, column "),
        (lambda text: text + ', "annotations": []', "an object has the key 'annotations' twice"),
    ],
    ids=["id", "area", "unknown", "nested", "polygons", "escaped", "digits", "depth", "number", "list"],
)
def test_what_json_refuses_is_refused(tmp_path: Path, fault: Any, message: str) -> None:
    path = write(tmp_path / "a.json", fault(json.dumps([{**SOUND, "id": 4}, SOUND])))
    with pytest.raises(UserError) as caught:
        read_coco(path, Findings())
    assert caught.value.problem.startswith(message)


@pytest.mark.parametrize("text", ["NaN", '"\\ud800"', "-Infinity"])
def test_what_only_json_takes_is_read_one_by_one(tmp_path: Path, text: str) -> None:
    path = write(tmp_path / "a.json", json.dumps([SOUND, {**SOUND, "id": 6, "note": 1}]).replace("1}", text + "}"))
    annotations = read_coco(path, Findings()).annotations
    assert len(annotations.table) == 0
    objects, findings, _ = outcome(annotations)
    assert [entry.annotation_id for entry in objects] == [5, 6]
    assert [*findings] == ["annotation_repeated"]
