"""The steps as Python functions: the names, options and defaults of the commands, and nothing else of the process."""

from __future__ import annotations

import inspect
import os
import random
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import codetr
from codetr.cli.app import app
from codetr.core.manifest import Manifest
from codetr.training.step import StepResult, TrainStep
from tests.support.training.runs import RECIPE

SHORT = {
    "training.epochs": 1,
    "training.accumulate": 1,
    "training.schedule": {},
    "loader.batch_size": 4,
    "loader.workers": 0,
}
ONE_EPOCH = RECIPE.changed(SHORT.items())
OPTIONS = {"assignments": "set"}
"""Parameters of the commands that have another name in Python."""
COMMAND_LINE = {"context", "processes", "force", "on"}
"""Those that are about where the command runs: a Python program runs where it was started."""


@pytest.fixture(scope="module")
def prepared(drawn_once: Path, tmp_path_factory: pytest.TempPathFactory) -> codetr.PrepareResult:
    return codetr.prepare(
        tmp_path_factory.mktemp("api") / "dataset",
        train=drawn_once / "train" / "annotations.json",
        train_images=drawn_once / "train" / "images",
        val=[str(drawn_once / "val" / "annotations.json")],
        val_images=drawn_once / "val" / "images",
        set={"max_lost_images": 0.25},
    )


@pytest.fixture(scope="module")
def trained(prepared: codetr.PrepareResult) -> codetr.TrainResult:
    return codetr.train(prepared, prepared.folder.parent / "model", recipe=ONE_EPOCH, set={"training.seed": 3})


def test_the_four_steps_pass_their_results_on(
    prepared: codetr.PrepareResult, trained: codetr.TrainResult, tmp_path: Path
) -> None:
    """A notebook would have to read the figures from files whose names it does not know."""
    assert prepared.summary["train"]["images"] == prepared.report.splits["train"].images == 24
    assert Manifest.read(prepared.folder, "dataset").config["max_lost_images"] == 0.25
    manifest = Manifest.read(trained.folder, "model", verify=True)
    assert manifest.inputs == {"dataset": prepared.digest}
    assert manifest.config["recipe"]["training"]["seed"] == 3
    assert manifest.digest == trained.digest
    assert (trained.folder.parent / "model.checkpoints").is_dir(), "as the command, beside the model"
    assert trained.load(device="cpu").class_names == tuple(trained.load(device="cpu").info.class_names)
    settings = {"workers": 0, "pictures": 0}
    evaluated = codetr.evaluate(trained, prepared, tmp_path / "evaluation", device="cpu", set=settings)
    assert evaluated.report.is_file()
    assert evaluated.metrics["AP"] == pytest.approx(trained.metrics["AP"], abs=1e-12)
    registered = codetr.register(trained, evaluated, tmp_path / "registry", tmp_path / "registration")
    assert (registered.version, registered.promoted) == ("v1", True)
    assert codetr.load(f"{tmp_path / 'registry'}@v1", device="cpu").info == trained.load(device="cpu").info


@pytest.mark.parametrize("name", ["prepare", "train", "evaluate", "register"])
def test_a_function_has_the_options_and_defaults_of_its_command(name: str) -> None:
    """Two ways of doing the same thing would come apart with the next option."""
    command: Callable[..., None] = next(
        info.callback for info in app.registered_commands if info.callback and info.callback.__name__ == name
    )
    options = {
        OPTIONS.get(parameter.name, parameter.name): parameter.default
        for parameter in inspect.signature(command).parameters.values()
        if parameter.name not in COMMAND_LINE
    }
    arguments = {
        parameter.name: parameter.default for parameter in inspect.signature(getattr(codetr, name)).parameters.values()
    }
    assert arguments == options


@pytest.fixture
def threads() -> Iterator[int]:
    """A number of PyTorch's threads that no recipe sets."""
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield 3
    torch.set_num_threads(before)


def random_state() -> tuple[Any, ...]:
    return random.getstate(), repr(np.random.get_state()), torch.get_rng_state().tolist()


def test_a_call_leaves_the_process_as_it_was(
    prepared: codetr.PrepareResult, trained: codetr.TrainResult, threads: int
) -> None:
    """The rest of a notebook would run on one thread, with slow kernels and the same random numbers every time."""
    before = random_state()
    again = codetr.train(prepared, trained.folder, recipe=ONE_EPOCH, set={"training.seed": 3})
    assert again == trained, "it is already complete"
    assert torch.get_num_threads() == threads
    assert not torch.are_deterministic_algorithms_enabled()
    assert random_state() == before


def test_a_request_to_stop_is_an_exception(
    prepared: codetr.PrepareResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SystemExit would end the program or the kernel of the notebook."""
    step = TrainStep.__call__

    def interrupted(self: TrainStep, *given: Any, **options: Any) -> StepResult:
        os.kill(os.getpid(), signal.SIGINT)
        return step(self, *given, **{**options, "stop": True})

    monkeypatch.setattr(TrainStep, "__call__", interrupted)
    with pytest.raises(
        codetr.RunStopped, match=r"model: was asked to stop, and has saved a checkpoint\. Call it again"
    ):
        codetr.train(prepared, tmp_path / "model", recipe=ONE_EPOCH)
    assert list((tmp_path / "model.checkpoints").glob("step-00000001"))


def test_mistakes_are_exceptions_that_name_the_argument(tmp_path: Path) -> None:
    with pytest.raises(codetr.UserError, match=r"there is no recipe 'tinny'\. Did you mean 'tiny'"):
        codetr.train(tmp_path, tmp_path / "model", recipe="tinny")
    with pytest.raises(
        codetr.UserError, match=r"set: 'training\.epoch' does not exist\. Did you mean 'training\.epochs'"
    ):
        codetr.train(tmp_path, tmp_path / "model", recipe="tiny", set={"training.epoch": 2})
    with pytest.raises(codetr.UserError, match="no annotations are given"):
        codetr.prepare(tmp_path / "dataset")


def test_errors_of_the_system_are_exceptions_of_codetr(tmp_path: Path) -> None:
    """A program would have to catch OSError too: some are reported where rank 0 works for all, others were not."""
    (tmp_path / "circle").symlink_to("circle")
    with pytest.raises(codetr.UserError, match=r"circle: cannot be read or written: "):
        codetr.prepare(tmp_path / "circle" / "dataset", train=tmp_path / "train.json", images=tmp_path)


def test_an_argument_that_is_a_setting_is_answered_with_the_setting() -> None:
    """`codetr.train(epochs=1)` ended with the names of Python alone."""
    with pytest.raises(TypeError, match=r"train\(\) has no argument 'epochs'. set=\{\"training.epochs\": 1\}"):
        codetr.train("dataset", "model", epochs=1)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match=r"prepare\(\) has no argument 'seed'. set=\{\"seed\": 3\}"):
        codetr.prepare("dataset", train="a.json", seed=3)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match=r"has no argument 'image'. Did you mean 'images'\?"):
        codetr.prepare("dataset", train="a.json", image="images")  # type: ignore[call-arg]


def test_a_result_is_shown_in_a_line(prepared: codetr.PrepareResult) -> None:
    """The whole report of the dataset was printed, thousands of characters."""
    assert repr(prepared).startswith(f"PrepareResult('{prepared.folder}', images {{'train': ")
    assert len(repr(prepared)) < 300
