"""The threshold of `codetr predict` without --score."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from codetr.core.manifest import Manifest
from codetr.inference.best_threshold import best_threshold
from codetr.inference.config import TTAConfig


def model(folder: Path, name: str = "a") -> Path:
    folder.mkdir()
    (folder / "weights").write_text(name)
    Manifest.of(folder, "model").write(folder)
    return folder


def evaluation(folder: Path, of: Path, written: int, **summary: Any) -> None:
    folder.mkdir()
    inputs, config = {"model": Manifest.read(of, "model").digest}, {"tta": summary.pop("tta", None), "tiles": None}
    summary = {"split": "val", "f1": 0.7, **summary}
    Manifest.of(folder, "evaluation", inputs=inputs, config=config, summary=summary).write(folder)
    os.utime(folder / "manifest.json", (written, written))


def test_the_newest_evaluation_of_this_model_decides(tmp_path: Path) -> None:
    """The threshold of another model would drop what this one finds."""
    mine, other = model(tmp_path / "model"), model(tmp_path / "other", "b")
    assert best_threshold(mine) is None
    evaluation(tmp_path / "old", mine, 100, score_threshold=0.2)
    evaluation(tmp_path / "new", mine, 200, score_threshold=0.45, split="test")
    evaluation(tmp_path / "of_other", other, 300, score_threshold=0.9)
    best = best_threshold(mine)
    assert best is not None
    assert (best.score, best.split, best.evaluation.name) == (0.45, "test", "new")


def test_only_an_evaluation_under_the_same_conditions_counts(tmp_path: Path) -> None:
    """Scores of merged detections are others: with their threshold, a plain prediction finds three times as many."""
    mine, tta = model(tmp_path / "model"), TTAConfig(scales=(1.0, 0.8))
    evaluation(tmp_path / "plain", mine, 100, score_threshold=0.3)
    evaluation(tmp_path / "tta", mine, 200, score_threshold=0.1, tta=tta.model_dump(mode="json"))
    plain, augmented = best_threshold(mine), best_threshold(mine, tta=tta)
    assert plain is not None
    assert augmented is not None
    assert (plain.score, augmented.score) == (0.3, 0.1)
    assert best_threshold(mine, tta=TTAConfig()) is None


@pytest.mark.parametrize("summary", [{}, {"score_threshold": None}, {"score_threshold": 0.0, "f1": 0.0}], ids=str)
def test_an_evaluation_that_found_nothing_decides_nothing(tmp_path: Path, summary: dict[str, Any]) -> None:
    """A threshold of 0 would draw every detection."""
    evaluation(tmp_path / "evaluation", model(tmp_path / "model"), 100, **summary)
    assert best_threshold(tmp_path / "model") is None


def test_what_is_no_model_folder_has_no_threshold(tmp_path: Path) -> None:
    """Its reader says what is wrong."""
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "manifest.json").write_text("{")
    assert best_threshold(tmp_path / "none") is None
    assert best_threshold(tmp_path / "broken") is None
