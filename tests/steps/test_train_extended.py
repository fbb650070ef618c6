"""A finished run that is trained further is the run of more epochs from the beginning."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from codetr.core.errors import UserError
from codetr.steps.train import TrainConfig, train
from tests.support.training.runs import RECIPE, rows, weights

DROP_AT_THE_END = RECIPE.changed(
    [
        ("loader.batch_size", 2),
        ("training.schedule", {"milestones": [-1]}),
        ("training.accumulate", 1),
        ("training.validate_every", 0),
        ("training.checkpoint", {}),
    ]
)


def epochs(count: int, *changes: tuple[str, Any]) -> TrainConfig:
    return TrainConfig(recipe=DROP_AT_THE_END.changed([("training.epochs", count), *changes]))


def test_a_finished_run_is_extended_only_on_request_and_ends_as_a_longer_one(dataset: Path, tmp_path: Path) -> None:
    """One epoch and a second are two: optimiser, average, order of images and random draws continue.

    The only epoch of a run keeps its learning rate, so both runs drop it before the second.
    """
    model = tmp_path / "model"
    train(epochs(1), dataset, model)
    with pytest.raises(
        UserError, match=r"recipe\.training\.epochs: 1 there, 2 here\).*--extend to train its run further"
    ):
        train(epochs(2), dataset, model)
    with pytest.raises(UserError, match=r"another run.*recipe\.training\.seed: 0 there, 1 here"):
        train(epochs(2, ("training.seed", 1)), dataset, model, extend=True)
    with pytest.raises(UserError, match=r"other settings unchanged \(recipe\.training\.seed.*Only these may differ"):
        train(epochs(2, ("training.seed", 1)), dataset, model, extend=True, overwrite=True)
    before = weights(model)
    manifest = train(epochs(2), dataset, model, extend=True)
    assert manifest.config["extended_from_epochs"] == [1]
    assert manifest.config["recipe"]["training"]["epochs"] == 2
    assert train(epochs(2), dataset, model, extend=True) == manifest, "it is already complete"
    assert train(epochs(2), dataset, model) == manifest
    with pytest.raises(UserError, match=r"training\.epochs: a run of 2 epochs cannot be extended to 1"):
        train(epochs(1), dataset, model, extend=True)
    train(epochs(2), dataset, tmp_path / "straight")
    assert weights(model) == weights(tmp_path / "straight") != before
    assert (model / "metrics.jsonl").read_text() == (tmp_path / "straight" / "metrics.jsonl").read_text()
    rates = {row["epoch"]: row["lr"] for row in map(json.loads, rows(tmp_path, "model.checkpoints"))}
    assert rates[2] == pytest.approx(rates[1] / 10), "that of the new schedule"


def test_without_checkpoints_there_is_nothing_to_extend(dataset: Path, tmp_path: Path) -> None:
    """A run from the beginning would look like an extension."""
    with pytest.raises(UserError, match=r"model\.checkpoints: holds no checkpoint of a run to extend.*init_from"):
        train(epochs(3), dataset, tmp_path / "model", extend=True)
