"""The training loop: exact resumption, what is recorded, validated and published."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from codetr.core.errors import UserError
from codetr.data.loading.unreadable import BadImage
from codetr.distributed.processes import Processes
from codetr.distributed.signals import PreemptedError, stop_on_signal
from codetr.models.detector import build_detector
from codetr.training.checkpoint_folder import RUN, CheckpointFolder
from codetr.training.config import CheckpointConfig, EmaConfig, OptimizerConfig, ScheduleConfig, TrainingConfig
from codetr.training.reporting.metrics_file import METRICS
from codetr.training.state import Outcome
from codetr.training.step import MicroBatch
from codetr.training.trainer import Hooks, Trainer
from tests.support.training.tiny_training import tiny_config
from tests.support.training.training_loop import Drawn, StopAfter, Validation

ALONE = Processes(0, 1, torch.device("cpu"))
CONFIG = TrainingConfig(
    epochs=3,
    accumulate=2,
    optimizer=OptimizerConfig(lr=1e-3),
    schedule=ScheduleConfig(warmup_iterations=3, milestones=(2,)),
    ema=EmaConfig(momentum=0.05, warmup_iterations=3),
    checkpoint=CheckpointConfig(every_steps=2, keep=2),
    log_every=2,
    publish="last",
)
STEPS_PER_EPOCH = 3


Logged = list[tuple[int, Mapping[str, float]]]


def trainer(
    folder: Path,
    config: TrainingConfig = CONFIG,
    *,
    count: int = 6,
    stop: int = 10**9,
    validate: Validation | None = None,
    batches: Drawn | None = None,
    hooks: Hooks | None = None,
) -> Trainer:
    torch.manual_seed(config.seed)
    checkpoints = CheckpointFolder(folder, keep=config.checkpoint.keep)
    checkpoints.claim({"config": config.model_dump(mode="json")})
    hooks = hooks or Hooks(StopAfter(stop), lambda values, step: None, validate or Validation())
    return Trainer(build_detector(tiny_config()), batches or Drawn(count), config, ALONE, checkpoints, hooks)


def same(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def rows(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / METRICS).read_text().splitlines()]


Run = tuple[Outcome, Path, Validation]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("uninterrupted") / "c"
    validation = Validation()
    return trainer(folder, validate=validation).run(), folder, validation


@pytest.mark.parametrize("stops", [[2, 1, 0], [4]], ids=str)
def test_a_run_that_is_stopped_and_started_again_is_the_uninterrupted_run(
    tmp_path: Path, uninterrupted: Run, stops: list[int]
) -> None:
    """In the middle of an epoch, at its end, and again and again: weights, average, metrics and best are the same."""
    expected, reference, _ = uninterrupted
    for stop in stops:
        with pytest.raises(PreemptedError) as stopped:
            trainer(tmp_path / "c", stop=stop).run()
        assert stopped.value.code == 75
    found = trainer(tmp_path / "c").run()
    assert same(found.weights, expected.weights)
    assert found.steps == expected.steps == 3 * STEPS_PER_EPOCH
    assert (found.published, found.best) == (expected.published, expected.best)
    assert (tmp_path / "c" / METRICS).read_text() == (reference / METRICS).read_text()


def test_checkpoints_by_time_change_neither_weights_nor_metrics(tmp_path: Path, uninterrupted: Run) -> None:
    """An epoch of a large dataset takes hours; what is saved in it must be the run, and leave it as it is."""
    often = CONFIG.model_copy(update={"checkpoint": CheckpointConfig(every_minutes=1e-9, keep=100)})
    found = trainer(tmp_path / "c", often).run()
    assert CheckpointFolder(tmp_path / "c", keep=2).steps() == list(range(1, 3 * STEPS_PER_EPOCH + 1))
    assert same(found.weights, uninterrupted[0].weights)
    assert (tmp_path / "c" / METRICS).read_text() == (uninterrupted[1] / METRICS).read_text()


class NeverComes(Drawn):
    """The third batch of the second epoch does not arrive, and the process is asked to stop meanwhile."""

    def epoch(self, epoch: int, start: int = 0) -> Iterator[MicroBatch]:
        for batch, part in enumerate(super().epoch(epoch, start), start):
            if (epoch, batch) == (1, 3):
                os.kill(os.getpid(), signal.SIGTERM)
                threading.Event().wait(60)
            yield part


def test_a_run_that_is_stopped_while_it_waits_for_images_saves_and_resumes(
    tmp_path: Path, uninterrupted: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    """A loader that hangs must not hold the run; the half step that was loaded is loaded again."""
    with stop_on_signal() as stop, pytest.raises(PreemptedError):
        trainer(tmp_path / "c", batches=NeverComes(6), hooks=Hooks(stop, lambda *_: None, Validation())).run()
    assert "stopped after step 4" in capsys.readouterr().err
    assert same(trainer(tmp_path / "c").run().weights, uninterrupted[0].weights)


def test_a_run_that_is_stopped_while_it_is_validated_keeps_the_epoch(tmp_path: Path, uninterrupted: Run) -> None:
    """A validation of an hour must not outlast the time that a scheduler gives."""

    def never_ends(detector: nn.Module, track: object) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        threading.Event().wait(60)

    with stop_on_signal() as stop, pytest.raises(PreemptedError):
        trainer(tmp_path / "c", hooks=Hooks(stop, lambda *_: None, never_ends)).run()
    assert CheckpointFolder(tmp_path / "c", keep=2).steps()[-1] == STEPS_PER_EPOCH
    found = trainer(tmp_path / "c").run()
    assert same(found.weights, uninterrupted[0].weights)
    assert (tmp_path / "c" / METRICS).read_text() == (uninterrupted[1] / METRICS).read_text()


def test_the_comparison_above_can_fail(tmp_path: Path, uninterrupted: Run) -> None:
    """Another seed gives other weights."""
    other = trainer(tmp_path / "c", CONFIG.model_copy(update={"seed": 1, "epochs": 1, "schedule": ScheduleConfig()}))
    assert not same(other.run().weights, uninterrupted[0].weights)


def test_a_damaged_newest_checkpoint_costs_steps_but_not_the_result(tmp_path: Path, uninterrupted: Run) -> None:
    with pytest.raises(PreemptedError):
        trainer(tmp_path / "c", stop=4).run()
    newest = tmp_path / "c" / "step-00000005" / "state.pt"
    newest.write_bytes(newest.read_bytes()[:1000])
    with pytest.warns(UserWarning, match="renamed to damaged-"):
        resumed = trainer(tmp_path / "c")
    assert same(resumed.run().weights, uninterrupted[0].weights)
    assert (tmp_path / "c" / METRICS).read_text() == (uninterrupted[1] / METRICS).read_text()


def test_a_finished_run_started_again_gives_the_same_without_training(tmp_path: Path, uninterrupted: Run) -> None:
    expected, folder, _ = uninterrupted
    validation = Validation()
    assert same(trainer(folder, validate=validation).run().weights, expected.weights)
    assert validation.seen == [], "a finished run is not validated again"


def test_metrics_have_every_step_once_and_all_losses(uninterrupted: Run) -> None:
    _, folder, _ = uninterrupted
    written = rows(folder)
    training = [row for row in written if "lr" in row]
    assert [row["step"] for row in training] == [2, 4, 6, 8]
    assert {"loss/total", "loss/encoder.cls", "loss/dn1.l1", "loss/rpn.cls", "loss/roi.giou", "grad_norm"} <= set(
        training[0]
    )
    validations = [row for row in written if "val/AP" in row]
    assert [(row["step"], row["epoch"]) for row in validations] == [(3, 1), (6, 2), (9, 3)]
    assert not any("second" in key or "memory" in key for row in written for key in row), "rows are the same every run"


def test_the_tracker_and_the_cluster_get_what_depends_on_the_machine(tmp_path: Path) -> None:
    logged: Logged = []
    reported: list[tuple[float, float | None, dict[str, Any]]] = []
    config = CONFIG.model_copy(update={"epochs": 1, "log_every": 1, "schedule": ScheduleConfig()})
    hooks = Hooks(
        StopAfter(10**9),
        lambda values, step: logged.append((step, values)),
        Validation([0.25]),
        lambda done, left, metrics: reported.append((done, left, dict(metrics))),
    )
    trainer(tmp_path / "c", config, count=4, hooks=hooks).run()
    step, values = logged[0]
    assert step == 1
    assert values["images_per_second"] > 0
    assert values["memory_gib"] > 0.05
    assert [(done, metrics.get("AP")) for done, _, metrics in reported] == [(0.5, None), (1.0, None), (1.0, 0.25)]
    assert [left is not None and left > 0 for _, left, _ in reported] == [True, False, False]


def test_what_is_validated_and_published_is_the_average(uninterrupted: Run) -> None:
    outcome, folder, validation = uninterrupted
    published = float(outcome.weights["encoder.layers.0.feedforward.expand.weight"].double().sum())
    assert validation.seen[-1] == published
    state = CheckpointFolder(folder, keep=2).load(outcome.steps)
    assert not same(state["model"], outcome.weights), "the weights themselves differ from their average"
    assert same(state["ema"], outcome.weights)


def test_the_best_is_kept_and_published(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = CONFIG.model_copy(update={"publish": "best", "checkpoint": CheckpointConfig(keep=1)})
    outcome = trainer(tmp_path / "c", config, count=2, validate=Validation([0.1, 0.7, 0.3])).run()
    assert outcome.best == {"step": 2, "epoch": 2, "AP": 0.7}
    assert (outcome.published.step, outcome.published.epoch) == (2, 2)
    assert outcome.published.validation["AP"] == 0.7, "the metrics that are shown are those of these weights"
    assert "epoch 2 of 3 has the highest AP on the split val, 0.7000 (the last one: 0.3000)" in capsys.readouterr().err
    checkpoints = CheckpointFolder(tmp_path / "c", keep=1)
    assert checkpoints.steps() == [2, 3]
    assert same(outcome.weights, checkpoints.load(2)["ema"])


def test_training_ends_when_the_ap_has_not_risen_for_a_while(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And stays ended when the run is started again."""
    config = CONFIG.model_copy(update={"publish": "best", "patience": 1})
    outcome = trainer(tmp_path / "c", config, count=2, validate=Validation([0.4, 0.4, 0.9])).run()
    assert (outcome.steps, outcome.published.step) == (2, 2), "of equal ones the later"
    assert "ended after epoch 2 of 3: the AP has not risen in 1 validations" in capsys.readouterr().err
    again = trainer(tmp_path / "c", config, count=2, validate=Validation([])).run()
    assert same(again.weights, outcome.weights)
    assert "already complete" in capsys.readouterr().err


def test_a_run_that_ended_early_is_trained_further_when_it_is_extended(tmp_path: Path) -> None:
    """Its count of validations would end the extension before its first step, and the same model be published.

    The count starts again once: an extension that is resumed ends where it would have.
    """

    def extended(epochs: int, validation: Validation) -> Trainer:
        config = CONFIG.model_copy(update={"publish": "best", "patience": 1, "epochs": epochs})
        if (tmp_path / "c" / RUN).exists():
            identity = {"config": config.model_dump(mode="json")}
            CheckpointFolder(tmp_path / "c", keep=2).extend(identity, ["config.epochs"])
        return trainer(tmp_path / "c", config, count=2, validate=validation)

    assert extended(3, Validation([0.4, 0.3])).run().steps == 2
    outcome = extended(6, Validation([0.5, 0.6, 0.1])).run()
    assert (outcome.steps, outcome.published.epoch) == (5, 4)
    assert extended(6, Validation([])).run().steps == 5


def test_validation_follows_the_last_epoch_whatever_its_interval(tmp_path: Path) -> None:
    validation = Validation()
    trainer(tmp_path / "c", CONFIG.model_copy(update={"validate_every": 2}), count=2, validate=validation).run()
    assert len(validation.seen) == 2


def test_a_split_smaller_than_one_step_is_the_users_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="gives 6 batches, one step takes 8"):
        trainer(tmp_path / "c", CONFIG.model_copy(update={"accumulate": 8}))


class _LastIsBad(Drawn):
    """The last image of every epoch cannot be read and is replaced."""

    skips_bad_images = True

    def __init__(self, count: int) -> None:
        super().__init__(count)
        self.bad: list[tuple[int, BadImage]] = []

    def epoch(self, epoch: int, start: int = 0) -> Iterator[MicroBatch]:
        for batch, part in enumerate(super().epoch(epoch, start), start):
            if batch == len(self) - 1:
                self.bad.append((batch, BadImage(epoch, f"{epoch}.jpg", "is empty")))
            yield part

    def take_bad_images(self, before: int) -> list[BadImage]:
        bad = [image for batch, image in self.bad if batch < before]
        self.bad = [(batch, image) for batch, image in self.bad if batch >= before]
        return bad


def test_images_that_are_skipped_at_the_end_of_an_epoch_are_counted(tmp_path: Path) -> None:
    """The summary would not list them when no validation follows the epoch, nor after the run is resumed."""
    update = {"epochs": 2, "validate_every": 0, "log_every": 100, "checkpoint": CheckpointConfig(every_steps=100)}
    outcome = trainer(tmp_path, CONFIG.model_copy(update=update), batches=_LastIsBad(6)).run()
    assert outcome.bad_images is not None
    assert len(outcome.bad_images) == 2


def test_progress_without_a_terminal_is_plain_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A pipeline's log must not fill with control characters."""
    trainer(tmp_path / "c", count=2).run()
    printed = capsys.readouterr().err
    assert "step 3/3  epoch 3/3  loss " in printed
    assert "img/s" in printed
    assert "0:00:00 left" in printed
    assert "GiB" in printed
    assert "val    epoch 3/3  AP 0." in printed
    assert "\x1b" not in printed
