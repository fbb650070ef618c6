"""Damaged annotation files through the whole of prepare: refused with a reason, or a dataset to measure on."""

from __future__ import annotations

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
from codetr.evaluation.evaluate import evaluate_results
from codetr.evaluation.metrics.metric_spec import COCO_METRICS
from codetr.evaluation.tables.ground_truth import GroundTruth
from codetr.evaluation.tables.predictions import PredictionTable
from codetr.steps.prepare import prepare
from tests.support.evaluation.drawn_prediction_files import HEIGHT, WIDTH, damaged, mask, text
from tests.support.evaluation.reference_metrics import plain_lvis, pycocotools_run

NAMES = ("a.png", "b.png")


@st.composite
def listed(draw: st.DrawFn) -> dict[str, Any]:
    """Two images that are there, two categories, and a sound object of either in either; then one fault or more."""
    images: list[dict[str, Any]] = [
        {"id": number, "file_name": name, "height": HEIGHT, "width": WIDTH} for number, name in enumerate(NAMES, 3)
    ]
    categories: list[dict[str, Any]] = [{"id": 5, "name": "cup"}, {"id": 2, "name": "plate"}]
    if draw(st.booleans()):
        images = [{**image, "neg_category_ids": [5], "not_exhaustive_category_ids": [2]} for image in images]
        categories = [{**category, "frequency": "r", "image_count": 2} for category in categories]
    boxes: tuple[list[float], ...] = ([4, 4, 16, 8], [0, 10.5, 24.5, 12], [30, 20, 30, 20])
    annotations = [
        {"id": 9 - k, "image_id": 3 + k % 2, "category_id": 2 + 3 * (k // 2), "bbox": box, "area": box[2] * box[3]}
        | {"iscrowd": 0, "segmentation": mask(draw(st.sampled_from(["polygons", "code", "runs"])), box)}
        for k, box in enumerate(boxes)
    ]
    return draw(damaged({"images": images, "annotations": annotations, "categories": categories}))


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("drawn") / "images"
    folder.mkdir()
    for number, name in enumerate(NAMES):
        Image.fromarray(np.full((HEIGHT, WIDTH, 3), 80 * number, np.uint8)).save(folder / name)
    return folder


@settings(
    max_examples=100,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(content=listed())
def test_damaged_files_are_refused_or_become_a_dataset(images: Path, content: Any) -> None:
    """It would be a traceback in the middle of a long run, or a dataset with other metrics than its annotation file."""
    file = images.parent / "annotations.json"
    file.write_text(text(content))
    source = SourceConfig(annotations=str(file), images=str(images))
    try:
        prepare(
            PrepareConfig(train=(source,), val=(source,), max_lost_images=1, max_lost_annotations=1),
            images.parent / "dataset",
        )
    except UserError:
        return
    split = Split.open(images.parent / "dataset", "val")
    truth, objects = split.to_coco(), GroundTruth.of_split(split)
    results = [
        {"image_id": entry["image_id"], "category_id": entry["category_id"], "bbox": entry["bbox"], "score": 0.5}
        for entry in truth["annotations"]
    ]
    metrics = evaluate_results(objects, PredictionTable.of_coco(results, objects))
    if metrics.federated:
        lists: dict[str, list[int]] = {
            "neg_category_ids": [],
            "not_exhaustive_category_ids": [],
        }  # which may be missing
        truth["images"] = [{**lists, **entry} for entry in truth["images"]]
        assert metrics.summary == pytest.approx(plain_lvis(truth, results), abs=1e-12)
    else:
        expected = pycocotools_run(truth, results).stats.tolist()
        assert [metrics.summary[name] for name in COCO_METRICS] == [None if v == -1 else v for v in expected]
