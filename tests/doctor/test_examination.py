"""The whole examination of a dataset with known faults."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from codetr.data.config import PreprocessConfig
from codetr.data.transforms.resize import rescaled_size
from codetr.data.validation.finding_kind import SEVERITIES
from codetr.data.validation.finding_kinds import KINDS
from codetr.doctor.examination import examine_dataset, fails, input_scales
from tests.doctor.conftest import FaultyDataset

# What drawn pictures of 48 to 80 pixels with a handful of objects have anyway.
HARMLESS = {"class_rare", "class_unevaluated", "image_empty", "box_whole_image", "box_small_at_input"}


def test_every_fault_is_found_and_nothing_else(faulty: FaultyDataset) -> None:
    """A fault that is missed hurts training; a false one costs the user time."""
    found = {finding.name: finding.count for finding in faulty.examination.findings}
    assert {name: count for name, count in found.items() if name not in HARMLESS} == faulty.expected


def test_examples_say_where(faulty: FaultyDataset) -> None:
    """With the id and the file one finds the record in the annotation tool."""
    findings = {finding.name: finding for finding in faulty.examination.findings}
    raw = json.loads(faulty.files["train"].source.annotations.read_text())
    annotations = {annotation["id"]: annotation for annotation in raw["annotations"]}
    (example,) = findings["annotation_repeated"].examples
    copy, original = (annotations[k] for k in example.annotation_ids)
    assert copy == {**original, "id": copy["id"], "note": "an exact copy"}
    (example,) = findings["image_leaked"].examples
    assert (example.split, example.file, example.image_id) == ("val", "leak.png", 7001)
    assert example.partner is not None
    assert example.partner[0] == "train"


def test_errors_come_before_warnings_and_notes(faulty: FaultyDataset) -> None:
    order = [SEVERITIES.index(finding.kind.severity) for finding in faulty.examination.findings]
    assert order == sorted(order)


def test_the_json_report_is_json_and_complete(faulty: FaultyDataset) -> None:
    values = json.loads(json.dumps(faulty.examination.to_json(), allow_nan=False))
    assert {entry["name"]: entry["count"] for entry in values["findings"]}.items() >= faulty.expected.items()
    assert values["severities"]["error"] == sum(KINDS[name].severity == "error" for name in faulty.expected)
    assert values["splits"]["train"]["images"] == 19
    assert [entry["name"] for entry in values["classes"]][:2] == ["circle", "square"]
    assert values["input"] == {"short_side": 800, "long_side": 1333, "canvas": None}


def test_a_sound_dataset_fails_at_no_level(dataset: Path, faulty: FaultyDataset) -> None:
    """Continuous integration goes by it."""
    sound = examine_dataset(dataset, PreprocessConfig())
    assert [fails(sound, level) for level in ("error", "warning", "never")] == [False, False, False]
    assert [fails(faulty.examination, level) for level in ("error", "warning", "never")] == [True, True, False]


@pytest.mark.parametrize(("short_side", "long_side"), [(800, 1333), (1333, 800), (320, 320)])
def test_input_scales_are_those_of_the_loader(short_side: int, long_side: int) -> None:
    """Otherwise objects count as small that are not, or the other way round."""
    sizes = np.array([[480, 640], [640, 480], [100, 1000], [333, 333]], np.int32)
    scales = input_scales(sizes, PreprocessConfig(short_side=short_side, long_side=long_side))
    for (height, width), scale in zip(sizes.tolist(), scales, strict=True):
        expected = rescaled_size(height, width, short_side, long_side)
        assert np.abs(np.array([height, width]) * scale - expected).max() <= 0.5
    assert input_scales(sizes, PreprocessConfig(canvas=1280)).tolist() == [2, 2, 1.28, 1280 / 333]
