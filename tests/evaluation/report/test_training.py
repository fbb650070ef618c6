"""The training curves of the report: what they are drawn from, and runs of any length."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from codetr.core.errors import UserError
from codetr.evaluation.report.training import TrainingHistory, plot_training, read_history
from tests.support.paths import ROOT

ROWS: list[dict[str, Any]] = [
    {"step": 10, "epoch": 1, "lr": 1e-3, "loss/decoder0.cls": 1.0, "loss/decoder1.cls": 2.0, "loss/rpn.cls": 0.5},
    {"step": 10, "epoch": 1, "val/AP": 0.2, "val/AP50": 0.5, "val/APl": None},
    {"step": 20, "epoch": 2, "lr": 1e-4, "loss/decoder0.cls": 0.5, "loss/decoder1.cls": 0.5, "loss/rpn.cls": 0.25},
    {"step": 20, "epoch": 2, "val/AP": 0.1, "val/AP50": 0.4, "val/APl": None},
]


def model(folder: Path, rows: list[dict[str, Any]], summary: object = None) -> Path:
    """The files of a model folder that the report reads."""
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    if summary is not None:
        (folder / "summary.json").write_text(json.dumps(summary))
    return folder


def test_the_history_is_what_training_wrote(tmp_path: Path) -> None:
    """A curve of the wrong name, or another published epoch, would mislead whoever reads the report."""
    published = {"step": 10, "epoch": 1, "reason": "epoch 1 of 2 has the highest AP"}
    history = read_history(model(tmp_path, ROWS, {"published": published}))
    assert history is not None
    assert (history.steps, history.epochs) == (20, 2)
    assert (history.published_step, history.published_epoch, history.reason) == tuple(published.values())
    assert history.series("val/AP") == ([10, 20], [0.2, 0.1])
    assert history.series("val/APl") == ([], [])
    assert history.losses() == {"cls": {"decoder": ([10, 20], [3.0, 1.0]), "rpn": ([10, 20], [0.5, 0.25])}}


def test_a_converted_model_has_no_history(tmp_path: Path) -> None:
    assert read_history(tmp_path) is None
    assert read_history(model(tmp_path, [])) is None


@pytest.mark.parametrize("text", ["x", "[1]", "{}", '{"step": 1}', '{"step": 1, "epoch": 1, "lr": "x"}', "1"])
def test_other_content_is_an_error_that_names_the_file(tmp_path: Path, text: str) -> None:
    (tmp_path / "metrics.jsonl").write_text(text + "\n")
    with pytest.raises(UserError, match=r"metrics\.jsonl"):
        read_history(tmp_path)


@pytest.mark.parametrize("rows", [ROWS, ROWS[:1], ROWS[1:2], [{"step": 1, "epoch": 1}]], ids=str)
def test_curves_of_runs_of_any_length_are_drawn(tmp_path: Path, rows: list[dict[str, Any]]) -> None:
    """A run without validation, one of a single row, and one without losses are runs too."""
    plot_training(TrainingHistory(rows, 10, 1, "it is the last one"), tmp_path / "plots" / "training.png")
    with Image.open(tmp_path / "plots" / "training.png") as picture:
        assert np.asarray(picture).std() > 1


def test_the_names_of_the_losses_are_explained(tmp_path: Path) -> None:
    """They are names in the code; only those that a training has are of interest, and "decoder3" is a decoder."""
    history = read_history(model(tmp_path, ROWS))
    assert history is not None
    assert [name for name, _ in history.legend()] == ["cls", "decoder", "rpn"]


def test_every_head_and_loss_is_explained() -> None:
    """A head that is added later needs its line."""
    heads = (ROOT / "codetr/models/heads").rglob("*.py")
    named = {name for path in heads for name in re.findall(r'"(\w+\.\w+)":', path.read_text(encoding="utf-8"))}
    named |= {"encoder.cls", "decoder0.l1", "dn0.giou", "roi_queries.decoder0.cls", "atss_queries.decoder0.l1"}
    assert {"atss.centerness", "instance.mask", "roi.giou", "rpn.box"} <= named
    history = TrainingHistory([{"step": 1, "epoch": 1, **{f"loss/{name}": 1.0 for name in named}}])
    explained = {name.replace(" ", "_") for name, _ in history.legend()}
    assert {re.sub(r"\d+$", "", name.split(".")[0]) for name in named} <= explained
    assert {name.split(".")[-1] for name in named} <= explained
