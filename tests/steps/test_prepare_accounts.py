"""The numbers of a report add up: what a file lists is in the dataset, or a finding says why it is not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from codetr.core.errors import UserError
from codetr.data.config import SourceConfig
from codetr.data.dataset.split import Split
from codetr.data.ingest.config import PrepareConfig
from codetr.data.ingest.summary import read_report
from codetr.data.validation.findings import Finding
from codetr.steps.prepare import prepare

NAMES = [f"{k}.png" for k in range(5)]
MERGED = "image_repeated"
NO_ENTRY = {"image_passed_over", "image_verified_unknown"}
"""Findings of what was dropped that is no image of the list."""

NUMBER = st.integers(-5, 50) | st.sampled_from([0.5, "7", None, 1e9])
IMAGE: st.SearchStrategy[Any] = st.fixed_dictionaries(
    {"id": st.integers(1, 5) | st.sampled_from(["2", 3.0, None, "x"])},
    optional={"file_name": st.sampled_from([*NAMES, "gone.png", "../a.png", "", "a\n.png", "broken.png", 3])},
) | st.sampled_from([None, [], "1"])
ANNOTATION: st.SearchStrategy[Any] = st.fixed_dictionaries(
    {"image_id": st.integers(0, 7) | st.sampled_from(["2", "x", None]), "category_id": st.integers(0, 3)},
    optional={
        "id": st.integers(0, 9),
        "bbox": st.lists(NUMBER, min_size=4, max_size=4) | st.just([2, 3, 10, 9]) | st.sampled_from([None, [], "1 2"]),
        "area": NUMBER,
        "iscrowd": st.sampled_from([0, 1, "1", None]),
        "ignore": st.sampled_from([0, 1]),
        "segmentation": st.sampled_from([None, [], [[2, 3, 12, 3, 12, 12]], {"size": [1, 1], "counts": [1]}, "x"]),
    },
) | st.sampled_from([None, 3])


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("accounts") / "images"
    folder.mkdir()
    for k, name in enumerate(NAMES):
        Image.fromarray(np.random.default_rng(k).integers(0, 256, (30, 40, 3), np.uint8)).save(folder / name)
    (folder / "broken.png").write_bytes(b"no image")
    return folder


def dropped(findings: list[Finding], *, images: bool) -> int:
    lost = [finding for finding in findings if finding.kind.action == "dropped" and finding.name not in NO_ENTRY]
    kind = "image_" if images else ("annotation_", "box_")
    return sum(finding.count for finding in lost if finding.name.startswith(kind))


@settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.lists(IMAGE, max_size=5), st.lists(ANNOTATION, max_size=12), st.booleans())
def test_every_record_is_kept_or_accounted_for(
    images: Path, listed: list[Any], annotations: list[Any], draw: bool
) -> None:
    """A record that is lost without a finding is lost silently, and a model is worse for no visible reason."""
    sound = [{"id": 90 + k, "file_name": name} for k, name in enumerate(NAMES)]
    objects = [{"image_id": 90 + k, "category_id": 1 + k % 2, "bbox": [3, 4, 20, 15]} for k in range(5)]
    content = {
        "images": [*listed, *sound],
        "annotations": [*annotations, *objects],
        "categories": [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}],
    }
    file = images.parent / "train.json"
    file.write_text(json.dumps(content))
    source = SourceConfig(annotations=str(file), images=str(images))
    config = PrepareConfig(
        train=(source,), val=None if draw else (source,), max_lost_images=1, max_lost_annotations=1, stratify=False
    )
    try:
        prepare(config, images.parent / "dataset")
    except UserError:
        return  # one id for two files
    reports = read_report(images.parent / "dataset").splits
    of_file = ["train", "val"] if draw else ["train"]
    kept_images = sum(len(Split.open(images.parent / "dataset", name)) for name in of_file)
    kept = sum(reports[name].annotations for name in of_file)
    findings = [finding for name in of_file for finding in reports[name].findings]
    merged = sum(finding.count for finding in findings if finding.name == MERGED)
    assert kept_images + dropped(findings, images=True) + merged == len(content["images"])
    assert kept + dropped(findings, images=False) == len(content["annotations"])
    assert sum(reports[name].listed_images for name in of_file) == len(content["images"]) - merged
    assert sum(reports[name].listed_annotations for name in of_file) == len(content["annotations"])
