"""Valid and damaged files of every form: the metrics of the reference programs, or an error that names the entry."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from codetr.core.errors import UserError
from codetr.evaluation.evaluate import evaluate_results
from codetr.evaluation.metrics.coco import evaluate_coco, to_arrays
from codetr.evaluation.metrics.lvis import evaluate_lvis
from codetr.evaluation.metrics.metric_spec import COCO_METRICS
from codetr.evaluation.tables.coco_json import check_masks, read_ground_truth, read_predictions
from codetr.evaluation.tables.ground_truth import is_federated
from tests.support.evaluation.drawn_prediction_files import damaged, sound_files, text
from tests.support.evaluation.drawn_predictions import Pair
from tests.support.evaluation.reference_metrics import lvis_run, pycocotools_run

Kind = Literal["bbox", "segm"]
ONE_FOLDER = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large]
"""The same files are written over and over."""


def examples(count: int) -> settings:
    return settings(max_examples=count, deadline=None, derandomize=True, suppress_health_check=ONE_FOLDER)


def read(folder: Path, pair: tuple[Any, Any], kind: Kind) -> Pair:
    """What `codetr score` measures."""
    for name, value in zip(("truth", "results"), pair, strict=True):
        (folder / f"{name}.json").write_text(text(value))
    ground_truth = read_ground_truth(folder / "truth.json")
    results = read_predictions(folder / "results.json", ground_truth)
    if kind == "segm":
        check_masks(ground_truth, results)
    return ground_truth, results


def for_reference(pair: Pair, kind: Kind) -> Pair:
    """Add what the reference programs need: areas and flags; masks with separate scores without their boxes."""
    ground_truth, results = copy.deepcopy(pair)
    for entry in ground_truth["annotations"]:
        entry.setdefault("area", entry["bbox"][2] * entry["bbox"][3])
        entry.setdefault("iscrowd", 0)
    if kind == "segm" and any("mask_score" in entry for entry in results):
        for entry in results:
            entry["score"] = entry.pop("mask_score", entry["score"])
            entry.pop("bbox", None)
    return ground_truth, results


def is_defined(pair: Pair) -> bool:
    """Return whether the reference programs have no known defect for it (see `metrics.coco`), and lvis runs."""
    ids = [entry.get("id") for entry in pair[0]["annotations"]]
    grouped = not is_federated(pair[0]) or all("frequency" in entry for entry in pair[0]["categories"])
    return bool(pair[1]) and not {0, None} & set(ids) and len(set(ids)) == len(ids) and grouped


def coco_numbers(pair: Pair, kind: Kind) -> dict[str, float | None]:
    stats = pycocotools_run(*for_reference(pair, kind), kind).stats.tolist()
    return {name: None if value == -1 else value for name, value in zip(COCO_METRICS, stats, strict=True)}


def lvis_numbers(pair: Pair, kind: Kind) -> dict[str, float | None]:
    ground_truth, results = for_reference(pair, kind)
    for image in ground_truth["images"]:
        image.setdefault("neg_category_ids", [])
        image.setdefault("not_exhaustive_category_ids", [])
    return lvis_run(ground_truth, results, kind)


@pytest.mark.parametrize("kind", ["bbox", "segm"])
@examples(100)
@given(st.data())
def test_sound_files_are_measured_as_by_pycocotools(tmp_path: Path, kind: Kind, data: st.DataObject) -> None:
    """Someone else's files, of any form that the format allows, must give the numbers that others report of them."""
    pair = read(tmp_path, data.draw(sound_files(masks=kind == "segm")), kind)
    assert evaluate_coco(*pair, kind).summary == pytest.approx(coco_numbers(pair, kind), abs=1e-12)


@pytest.mark.parametrize("kind", ["bbox", "segm"])
@examples(40)
@given(st.data())
def test_sound_files_are_measured_as_by_lvis(tmp_path: Path, kind: Kind, data: st.DataObject) -> None:
    pair = read(tmp_path, data.draw(sound_files(federated=True, masks=kind == "segm")), kind)
    assert evaluate_lvis(*pair, kind).summary == pytest.approx(lvis_numbers(pair, kind), abs=1e-12)


@pytest.mark.parametrize("federated", [False, True])
@pytest.mark.parametrize("kind", ["bbox", "segm"])
@examples(150)
@given(st.data())
def test_damaged_files_are_refused_or_measured_right(
    tmp_path: Path, kind: Kind, federated: bool, data: st.DataObject
) -> None:
    """A traceback, or a metric that differs from other programs', is worse than an error that names the entry."""
    ground_truth, results = data.draw(sound_files(federated=federated, masks=kind == "segm"))
    if data.draw(st.booleans()):
        ground_truth = data.draw(damaged(ground_truth))
    else:
        results = data.draw(damaged(results))
    try:
        pair = read(tmp_path, (ground_truth, results), kind)
        with np.errstate(all="raise", under="ignore"):
            metrics = evaluate_results(*to_arrays(*pair, kind), kind)
    except UserError:
        return
    if is_defined(pair):
        run = lvis_numbers if metrics.federated else coco_numbers
        assert metrics.summary == pytest.approx(run(pair, kind), abs=1e-12)
