"""The batch size that `auto` chooses, and what is said when memory does not suffice for one."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, NoReturn

import pytest
import torch

from codetr.core.errors import RunFailed
from codetr.steps.batch_size import MOST, most_images
from codetr.steps.train import TrainConfig, train
from codetr.training.step import TrainStep
from tests.support.training.runs import RECIPE, weights


def test_an_automatic_batch_size_is_chosen_once_and_recorded(
    dataset: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run is that of the number; on a machine with other memory it would not resume if it chose again."""
    caplog.set_level("INFO", logger="codetr")
    one_epoch = [("training.epochs", 1), ("training.accumulate", 1), ("training.validate_every", 0)]
    recipe = RECIPE.changed([("training.schedule", {}), *one_epoch, ("training.optimizer.reference_batch", 2)])
    automatic = TrainConfig(recipe=recipe.changed([("loader.batch_size", "auto")]))
    manifest = train(automatic, dataset, tmp_path / "model")
    assert manifest.config["recipe"]["loader"]["batch_size"] == 2, "what the learning rate is meant for"
    assert "loader.batch_size=auto: 2 images in a batch" in caplog.text
    train(TrainConfig(recipe=recipe.changed([("loader.batch_size", 2)])), dataset, tmp_path / "two")
    assert weights(tmp_path / "model") == weights(tmp_path / "two")
    monkeypatch.setattr("codetr.steps.batch_size.MOST", 1)
    assert train(automatic, dataset, tmp_path / "model") == manifest, "it is already complete"
    shutil.rmtree(tmp_path / "model")
    assert train(automatic, dataset, tmp_path / "model") == manifest
    shutil.rmtree(tmp_path / "model.checkpoints")
    assert train(automatic, dataset, tmp_path / "model") == manifest


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.\nMore"), "CUDA out of memory"),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), "CUDA error"),
    ],
    ids=["PyTorch", "cuBLAS"],
)
def test_memory_of_the_gpu_that_runs_out_is_a_message_with_the_settings(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: RuntimeError, said: str
) -> None:
    """PyTorch's message advises to set an environment variable."""

    def full(*_: object, **__: object) -> NoReturn:
        raise error

    monkeypatch.setattr(TrainStep, "__call__", full)
    with pytest.raises(RunFailed, match=rf"ran out with 1 image in a batch: {said}.*checkpointing=true.*resumes"):
        train(TrainConfig(recipe=RECIPE), dataset, tmp_path / "model")


@pytest.mark.parametrize(
    ("settings", "images", "processes", "expected"),
    [
        ({"reference_batch": 16}, 1000, 1, 16),
        ({"reference_batch": 16}, 1000, 8, 2),
        ({"reference_batch": 16}, 1000, 32, 1),
        ({"reference_batch": 16, "scale_lr": "linear"}, 1000, 8, MOST),
        ({"reference_batch": 16, "scale_lr": "sqrt"}, 30, 1, 15),
        ({}, 1000, 1, MOST),
    ],
)
def test_an_automatic_batch_does_not_exceed_what_the_learning_rate_is_meant_for(
    settings: dict[str, Any], images: int, processes: int, expected: int
) -> None:
    """On a GPU of 140 GB a step would have a hundred images, with the learning rate for sixteen."""
    accumulate = 2 if images == 30 else 1
    recipe = RECIPE.changed([("training.accumulate", accumulate), ("training.optimizer", settings)])
    assert most_images(recipe, images=images, processes=processes) == expected
