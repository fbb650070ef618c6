"""The train step with real processes: killed, stopped, resumed, on one process and on two."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any, NoReturn

import pytest
import torch
from safetensors.torch import load_file

from codetr.core.errors import UserError
from codetr.core.manifest import Manifest
from codetr.core.system.lock import locked
from codetr.data.config import ClassBalancedConfig, LoaderConfig, SourceConfig
from codetr.data.dataset.split import Split
from codetr.data.ingest.config import PrepareConfig
from codetr.distributed.processes import Processes
from codetr.distributed.signals import PreemptedError
from codetr.models.config import FederatedConfig, MaskHeadConfig
from codetr.steps.prepare import prepare
from codetr.steps.train import TrainConfig, train
from codetr.steps.training_run import TrainingRun
from codetr.training.checkpoint_folder import LOCK
from codetr.training.config import CheckpointConfig, ScheduleConfig, TrainingConfig
from codetr.training.step import TrainStep
from codetr.weights.model_folder import load_model
from codetr.zoo.recipe import Recipe
from tests.support.training.runs import (
    IMAGES,
    RECIPE,
    finish,
    rows,
    started,
    wait_for_step,
    weights,
)


@pytest.fixture(scope="module")
def reference(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model of a run on one process that nothing disturbs."""
    folder = tmp_path_factory.mktemp("reference")
    train(TrainConfig(recipe=RECIPE), dataset, folder / "model", folder / "checkpoints")
    return folder / "model"


def test_a_run_killed_in_mid_epoch_ends_with_the_same_bits(dataset: Path, reference: Path, tmp_path: Path) -> None:
    """SIGKILL at a step without a checkpoint; then to the end with another number of loader processes."""
    with started(tmp_path, dataset) as process:
        wait_for_step(tmp_path, 5, process)
        process.kill()
    assert not (tmp_path / "model").exists(), "nothing half done is published"
    assert len(rows(tmp_path)) < 3 * IMAGES // 2, "the run was killed before its end"
    fewer = RECIPE.loader.model_copy(update={"workers": 0})
    config = TrainConfig(recipe=RECIPE.model_copy(update={"loader": fewer}))
    train(config, dataset, tmp_path / "model", tmp_path / "checkpoints")
    assert weights(tmp_path / "model") == weights(reference)
    assert (tmp_path / "model" / "metrics.jsonl").read_text() == (reference / "metrics.jsonl").read_text()
    assert (tmp_path / "model" / "summary.json").read_text() == (reference / "summary.json").read_text()


def test_two_processes_stopped_and_killed_end_with_the_same_bits(
    dataset: Path, reference: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """SIGTERM, which saves and exits with 75; then SIGKILL to everything; then to the end."""
    whole, broken = tmp_path_factory.mktemp("whole"), tmp_path_factory.mktemp("broken")
    code, log = finish(whole, dataset, processes=2)
    assert code == 0, log

    with started(broken, dataset, processes=2, launcher=True) as process:
        wait_for_step(broken, 2, process)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 75, (broken / "log.txt").read_text()
    log = (broken / "log.txt").read_text()
    assert "stopped after step" in log
    saved = sorted(path.name for path in (broken / "checkpoints").glob("step-*"))[-1]
    assert f"step {int(saved.removeprefix('step-'))};" in log, "the checkpoint is of the step it stopped after"

    with started(broken, dataset, processes=2) as process:
        wait_for_step(broken, 4, process)
        process.kill()
    code, log = finish(broken, dataset, processes=2)
    assert code == 0, log
    assert weights(broken / "model") == weights(whole / "model")
    assert (broken / "model" / "metrics.jsonl").read_text() == (whole / "model" / "metrics.jsonl").read_text()
    assert weights(whole / "model") != weights(reference), "two processes are twice the batch: another run"
    assert log.count("resuming from step") == 2
    assert "Traceback" not in log


def test_two_sharded_processes_killed_in_mid_epoch_end_with_the_same_bits(
    dataset: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """FSDP's order of reductions is the same after a restart."""
    whole, broken = tmp_path_factory.mktemp("whole"), tmp_path_factory.mktemp("broken")
    short = {"epochs": 1, "accumulate": 1, "schedule": ScheduleConfig(), "validate_every": 0, "distribution": "fsdp"}
    training = RECIPE.training.model_copy(update={**short, "checkpoint": CheckpointConfig()})
    code, log = finish(whole, dataset, processes=2, training=training)
    assert code == 0, log
    training = training.model_copy(update={"checkpoint": CheckpointConfig(every_steps=2)})
    with started(broken, dataset, processes=2, training=training) as process:
        wait_for_step(broken, 3, process)
        process.kill()
    assert not (broken / "model").exists()
    code, log = finish(broken, dataset, processes=2, training=training)
    assert code == 0, log
    assert "resuming from step" in log
    assert weights(broken / "model") == weights(whole / "model")
    assert (broken / "model" / "metrics.jsonl").read_text() == (whole / "model" / "metrics.jsonl").read_text()


def test_a_long_tailed_run_killed_in_mid_epoch_ends_with_the_same_bits(dataset: Path, tmp_path: Path) -> None:
    """Images of an epoch and classes that count are drawn from frequencies that no checkpoint holds."""
    short = {"epochs": 2, "accumulate": 1, "schedule": ScheduleConfig(), "validate_every": 0}
    settings: dict[str, Any] = {
        "training": RECIPE.training.model_copy(update=short),
        "loader": LoaderConfig(batch_size=1, workers=1, sampling=ClassBalancedConfig()),
        "model": RECIPE.model.model_copy(update={"federated": FederatedConfig(classes=2)}),
    }
    recipe = RECIPE.model_copy(update=settings)
    train(TrainConfig(recipe=recipe), dataset, tmp_path / "whole", tmp_path / "undisturbed")
    with started(tmp_path, dataset, **settings) as process:
        wait_for_step(tmp_path, IMAGES + 3, process)
        process.kill()
    assert not (tmp_path / "model").exists()
    train(TrainConfig(recipe=recipe), dataset, tmp_path / "model", tmp_path / "checkpoints")
    assert weights(tmp_path / "model") == weights(tmp_path / "whole")
    assert (tmp_path / "model" / "metrics.jsonl").read_text() == (tmp_path / "whole" / "metrics.jsonl").read_text()
    detector, _ = load_model(tmp_path / "model")
    assert detector.config.federated == FederatedConfig(classes=2), "how it was trained is known"


def test_the_federated_loss_knows_the_frequencies_of_the_training_split(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With other frequencies, common classes would be sampled as negatives too rarely or rare ones too often."""
    seen = []

    def first_step(self: Any, batches: Any, **_: Any) -> NoReturn:
        seen.append(self.detector.federated.images_per_class.tolist())
        raise UserError("enough")

    monkeypatch.setattr(TrainStep, "__call__", first_step)
    recipe = RECIPE.changed([("model.federated", {})])
    with pytest.raises(UserError, match="enough"):
        train(TrainConfig(recipe=recipe), dataset, tmp_path / "model", tmp_path / "checkpoints")
    split = Split.open(dataset, "train")
    labels = [set(split.record(image).labels.tolist()) for image in range(len(split))]
    assert seen == [[sum(label in of_image for of_image in labels) for label in range(len(split.names))]]


def test_a_run_may_resume_with_other_memory_settings(tmp_path: Path) -> None:
    """A run that no longer fits into memory need not start over."""
    group, paths = Processes(0, 2, torch.device("cpu")), (tmp_path,) * 3
    saving = RECIPE.changed(
        [
            ("training.distribution", "fsdp"),
            ("model.backbone.checkpointing", True),
            ("model.query.transformer.checkpointed_encoder_layers", 1),
            ("model.query.transformer.checkpointed_decoder_layers", 2),
        ]
    )
    assert (
        TrainingRun(saving, {}, *paths, group, None).identity == TrainingRun(RECIPE, {}, *paths, group, None).identity
    )
    other = RECIPE.changed([("training.seed", 3)])
    assert TrainingRun(other, {}, *paths, group, None).identity != TrainingRun(RECIPE, {}, *paths, group, None).identity


def test_the_model_folder_says_what_it_is(dataset: Path, reference: Path) -> None:
    detector, info = load_model(reference)
    classes = json.loads((dataset / "classes.json").read_text())["names"]
    assert list(info.class_names) == classes
    assert detector.config.num_classes == len(classes), "the recipe's number of classes gives way to the dataset's"
    manifest = Manifest.read(reference, "model", verify=True)
    assert manifest.inputs == {"dataset": Manifest.read(dataset, "dataset").digest}
    assert set(manifest.files) == {"model.safetensors", "model.json", "metrics.jsonl", "summary.json"}
    summary = json.loads((reference / "summary.json").read_text())
    assert summary["steps"] == 3 * IMAGES // 2
    assert summary["weights"] == weights(reference)
    assert set(summary["validation"]) >= {"AP", "AP50", "AR100"}
    assert summary["best"]["AP"] == max(row["val/AP"] for row in validations(reference))


def validations(model: Path) -> list[dict[str, Any]]:
    lines = map(json.loads, (model / "metrics.jsonl").read_text().splitlines())
    return [row for row in lines if "val/AP" in row]


def test_what_is_published_is_the_average(reference: Path) -> None:
    state = load_file(reference / "model.safetensors")
    saved = sorted((reference.parent / "checkpoints").glob("step-*"))[-1]
    checkpoint = torch.load(saved / "state.pt", weights_only=True)
    assert all(torch.equal(state[name], value) for name, value in checkpoint["ema"].items())
    assert any(not torch.equal(state[name], value) for name, value in checkpoint["model"].items())


def test_another_configuration_in_an_unfinished_runs_folder_is_refused_by_field(
    dataset: Path, reference: Path, tmp_path: Path
) -> None:
    """Otherwise two runs would be mixed into one model. The folder is unchanged."""
    checkpoints = tmp_path / "checkpoints"
    shutil.copytree(reference.parent / "checkpoints", checkpoints)
    run = json.loads((checkpoints / "run.json").read_text())
    (checkpoints / "run.json").write_text(json.dumps({**run, "finished": False}))
    before = sorted(path.name for path in checkpoints.iterdir())
    other = RECIPE.model_copy(update={"training": RECIPE.training.model_copy(update={"seed": 5})})
    with pytest.raises(UserError, match=r"recipe\.training\.seed: 0 there, 5 here"):
        train(TrainConfig(recipe=other), dataset, tmp_path / "model", checkpoints)
    assert not (tmp_path / "model").exists()
    assert sorted(path.name for path in checkpoints.iterdir()) == before


def test_a_finished_run_is_published_again_without_training(
    dataset: Path, reference: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pipeline that lost the model's folder, but not the checkpoints, gets it back in seconds."""
    checkpoints = tmp_path / "checkpoints"
    shutil.copytree(reference.parent / "checkpoints", checkpoints)
    monkeypatch.setattr(TrainStep, "__call__", lambda *_, **__: pytest.fail("a step was taken"))
    train(TrainConfig(recipe=RECIPE), dataset, tmp_path / "model", checkpoints)
    assert weights(tmp_path / "model") == weights(reference)
    assert Manifest.read(tmp_path / "model", "model").digest == Manifest.read(reference, "model").digest


def test_a_finished_run_started_again_says_that_it_is_complete(
    dataset: Path, reference: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is computed or written; other numbers of loader processes make no other run."""
    caplog.set_level("INFO", logger="codetr")
    before = (reference / "manifest.json").stat()
    monkeypatch.setattr(TrainingRun, "train", lambda *_: pytest.fail("it was trained again"))
    config = TrainConfig(recipe=RECIPE.changed([("loader.workers", 0)]))
    manifest = train(config, dataset, reference, reference.parent / "checkpoints")
    assert "is already complete" in caplog.text
    assert manifest == Manifest.read(reference, "model")
    assert (reference / "manifest.json").stat() == before


def hold(folder: Path, ready: Event) -> None:
    with locked(folder / LOCK, folder=folder, by="another training run"):
        ready.set()
        multiprocessing.Event().wait(60)


def test_a_run_that_waits_for_another_stops_at_once_and_promises_no_checkpoint(
    dataset: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """It would wait for a minute, then take a step, although the run is not needed any more.

    Before it has the folder, it does not try how many images fit: the other process has a part of the memory.
    """
    caplog.set_level("INFO", logger="codetr")
    context = multiprocessing.get_context("fork")
    ready = context.Event()
    other = context.Process(target=hold, args=(tmp_path / "model.checkpoints", ready))
    other.start()
    assert ready.wait(30)

    def stop() -> None:
        deadline = time.monotonic() + 30
        while "waiting up to 60 s" not in caplog.text and time.monotonic() < deadline:
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=stop)
    thread.start()
    started = time.monotonic()
    with pytest.raises(PreemptedError):
        train(TrainConfig(recipe=RECIPE.changed([("loader.batch_size", "auto")])), dataset, tmp_path / "model")
    thread.join()
    other.kill()
    other.join()
    assert time.monotonic() - started < 45
    assert f"another training run (process {other.pid} on " in caplog.text
    assert "stopped while waiting" in caplog.text
    assert "loader.batch_size=auto" not in caplog.text
    assert "checkpoint" not in capfd.readouterr().err


def test_another_runs_model_is_replaced_only_on_request(
    dataset: Path, reference: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model of days would be lost to a wrong path."""
    shutil.copytree(reference, tmp_path / "model")
    config = TrainConfig(recipe=RECIPE.changed([("training.seed", 5)]))
    with pytest.raises(UserError, match=r"another run \(recipe\.training\.seed: 0 there, 5 here\).*--overwrite"):
        train(config, dataset, tmp_path / "model", tmp_path / "checkpoints")
    assert weights(tmp_path / "model") == weights(reference)
    monkeypatch.setattr(TrainingRun, "train", raiser("trains"))
    with pytest.raises(UserError, match="trains"):
        train(config, dataset, tmp_path / "model", tmp_path / "checkpoints", overwrite=True)
    assert weights(tmp_path / "model") == weights(reference), "until the new one is complete"


def test_a_damaged_model_is_published_again(
    dataset: Path, reference: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """ "Already complete" would be wrong about weights that have changed."""
    shutil.copytree(reference.parent, tmp_path / "run")
    (tmp_path / "run" / "model" / "model.safetensors").write_bytes(b"damaged")
    train(TrainConfig(recipe=RECIPE), dataset, tmp_path / "run" / "model", tmp_path / "run" / "checkpoints")
    assert weights(tmp_path / "run" / "model") == weights(reference)
    assert f"already complete after {3 * IMAGES // 2} steps: publishing its model again" in capsys.readouterr().err


def raiser(message: str) -> Callable[..., NoReturn]:
    def fail(*_: object) -> NoReturn:
        raise UserError(message)

    return fail


def test_a_dataset_that_changed_is_refused_before_anything_is_written(dataset: Path, tmp_path: Path) -> None:
    copy = tmp_path / "dataset"
    shutil.copytree(dataset, copy)
    (copy / "classes.json").write_text((copy / "classes.json").read_text() + " ")
    with pytest.raises(UserError, match=r"classes\.json.*differs from the digest"):
        train(TrainConfig(recipe=RECIPE), copy, tmp_path / "model", tmp_path / "checkpoints")
    assert not (tmp_path / "model").exists()
    assert not (tmp_path / "checkpoints").exists()


def masked(recipe: Recipe) -> Recipe:
    """The recipe with a mask head in the RoI head."""
    assert recipe.model.roi is not None
    roi = recipe.model.roi.model_copy(update={"mask": MaskHeadConfig(convs=1)})
    return recipe.model_copy(update={"model": recipe.model.model_copy(update={"roi": roi, "detect_head": "roi"})})


def test_a_detector_with_masks_is_trained_on_them_and_validated(dataset: Path, tmp_path: Path) -> None:
    """Masks are loaded when, and because, the recipe learns them."""
    training = TrainingConfig(epochs=1, log_every=1)
    recipe = masked(RECIPE).model_copy(update={"training": training})
    manifest = train(TrainConfig(recipe=recipe), dataset, tmp_path / "model", tmp_path / "checkpoints")
    lines = [json.loads(line) for line in (tmp_path / "model" / "metrics.jsonl").read_text().splitlines()]
    assert lines[0]["loss/roi.mask"] > 0
    assert {"AP", "mask_AP"} <= manifest.summary.keys()


def test_objects_without_segmentations_are_refused_by_a_recipe_that_learns_masks(dataset: Path, tmp_path: Path) -> None:
    """A filled box learned as a mask would degrade all masks; boxes can be trained on the same dataset."""
    annotations = json.loads((dataset.parent / "shapes/train/annotations.json").read_text())
    for annotation in annotations["annotations"][:3]:
        del annotation["segmentation"]
    (tmp_path / "annotations.json").write_text(json.dumps(annotations))
    images = str(dataset.parent / "shapes/train/images")
    source = SourceConfig(annotations=str(tmp_path / "annotations.json"), images=images)
    prepare(PrepareConfig(train=(source,), val=(source,)), tmp_path / "dataset")
    with pytest.raises(UserError, match=r"split 'train' of .*dataset: 3 annotations have no segmentation"):
        train(TrainConfig(recipe=masked(RECIPE)), tmp_path / "dataset", tmp_path / "model", tmp_path / "checkpoints")
    assert not (tmp_path / "checkpoints").exists()


def test_a_folder_without_a_dataset_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds no manifest\.json"):
        train(TrainConfig(recipe=RECIPE), tmp_path, tmp_path / "model", tmp_path / "checkpoints")
