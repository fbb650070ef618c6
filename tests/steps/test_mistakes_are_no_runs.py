"""Mistakes in paths and files start no W&B run: a list of runs would be full of those that never began."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from codetr.core.errors import UserError
from codetr.data.config import SourceConfig
from codetr.data.ingest.config import PrepareConfig
from codetr.evaluation.config import EvaluateConfig
from codetr.steps.evaluate import evaluate
from codetr.steps.prepare import prepare
from codetr.steps.register import RegisterConfig, register


@pytest.fixture(autouse=True)
def _runs_are_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path / "runs"))


def test_a_mistyped_prepare_is_no_run(tmp_path: Path) -> None:
    Image.new("RGB", (9, 9)).save(tmp_path / "a.png")
    file = tmp_path / "train.json"
    file.write_text(json.dumps({"images": [{"id": 1, "file_name": "b.png"}], "annotations": [], "categories": []}))
    for path, images in ((tmp_path / "gone.json", tmp_path), (file, tmp_path / "gone"), (file, tmp_path)):
        source = SourceConfig(annotations=str(path), images=str(images))
        with pytest.raises(UserError):
            prepare(PrepareConfig(train=(source,)), tmp_path / "dataset")
    assert not (tmp_path / "runs").exists()


def test_a_mistyped_evaluate_or_register_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(UserError):
        evaluate(EvaluateConfig(), tmp_path / "model", tmp_path / "dataset", tmp_path / "evaluation")
    with pytest.raises(UserError):
        register(RegisterConfig(), tmp_path / "model", tmp_path, tmp_path / "registry", tmp_path / "registration")
    assert not (tmp_path / "runs").exists()
