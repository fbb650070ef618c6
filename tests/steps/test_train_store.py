"""Training with the store of results: what is found, what is stored, and what stays as it is."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from codetr.core.errors import UserError
from codetr.core.files import write_json
from codetr.core.manifest import ORIGIN, Manifest
from codetr.data.dataset.split import Split
from codetr.steps.store import RESULTS, ResultStore
from codetr.steps.train import TrainConfig, restore_stored, train
from codetr.steps.training_run import RESULT_KEY
from codetr.training.checkpoint_folder import LOCK
from tests.support.training.runs import ONE_EPOCH

LONGER = ONE_EPOCH.changed([("training.epochs", 2)])


@pytest.fixture(scope="module")
def stored(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[ResultStore, Path]:
    """A store, and the model that a training stored in it."""
    folder = tmp_path_factory.mktemp("stored")
    store = ResultStore.open(str(folder / "store"))
    train(TrainConfig(recipe=ONE_EPOCH), dataset, folder / "model", store=store)
    return store, folder / "model"


def test_a_stored_model_is_found_and_nothing_is_trained(
    stored: tuple[ResultStore, Path], dataset: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """With another number of loader processes, as another machine has."""
    store, model = stored
    recipe = ONE_EPOCH.changed([("loader.workers", 0)])
    with caplog.at_level(logging.INFO):
        found = train(TrainConfig(recipe=recipe), dataset, tmp_path / "model", store=store)
    assert found.digest == Manifest.read(model, "model").digest
    assert (tmp_path / "model" / ORIGIN).is_file()
    assert [entry.name for entry in (tmp_path / "model.checkpoints").iterdir()] == [LOCK]
    assert "nothing was computed" in caplog.text
    # The restored folder is one of this run: the same command again has nothing to do.
    assert train(TrainConfig(recipe=recipe), dataset, tmp_path / "model").digest == found.digest


def test_the_model_of_another_run_is_replaced_only_if_asked(
    stored: tuple[ResultStore, Path], dataset: Path, tmp_path: Path
) -> None:
    """A hit must not delete what a training would have refused to replace."""
    store, model = stored
    other = Path(shutil.copytree(model, tmp_path / "model"))
    manifest = Manifest.read(other, "model")
    config = {**manifest.config, "processes": 8}
    manifest.model_copy(update={"config": config}).write(other)
    with pytest.raises(UserError, match="holds the model of another run"):
        train(TrainConfig(recipe=ONE_EPOCH), dataset, other, store=store)
    found = train(TrainConfig(recipe=ONE_EPOCH), dataset, other, store=store, overwrite=True)
    assert found.digest == Manifest.read(model, "model").digest


def test_a_training_that_runs_elsewhere_is_asked_for_here(
    stored: tuple[ResultStore, Path], dataset: Path, tmp_path: Path
) -> None:
    """Before a cluster is asked for GPUs."""
    store, model = stored
    given = (TrainConfig(recipe=ONE_EPOCH), dataset, tmp_path / "model", store)
    assert restore_stored(*given, processes=2, device="cpu") is None
    assert restore_stored(*given, processes=1, device="cuda") is None
    auto = TrainConfig(recipe=ONE_EPOCH.changed([("loader.batch_size", "auto")]))
    assert restore_stored(auto, *given[1:], processes=1, device="cpu") is None
    found = restore_stored(*given, processes=1, device="cpu")
    assert found is not None
    assert found.digest == Manifest.read(model, "model").digest


@pytest.fixture
def finished(stored: tuple[ResultStore, Path], tmp_path: Path) -> Callable[[], Path]:
    """Copy the checkpoints of the run, from which it publishes its model again."""
    _, model = stored

    def copy() -> Path:
        return Path(shutil.copytree(f"{model}.checkpoints", tmp_path / "checkpoints"))

    return copy


def test_a_run_that_other_code_began_is_not_stored(finished: Callable[[], Path], dataset: Path, tmp_path: Path) -> None:
    """Its weights are those of two versions, which no single version gives."""
    store = ResultStore.open(str(tmp_path / "new"))
    checkpoints = finished()
    began = (checkpoints / RESULT_KEY).read_text()
    for content in ({"key": "sha256:other"}, None):
        if content is None:
            (checkpoints / RESULT_KEY).unlink()
        else:
            write_json(checkpoints / RESULT_KEY, content)
        train(TrainConfig(recipe=ONE_EPOCH), dataset, tmp_path / "model", checkpoints, store=store)
        assert store.storage.names(RESULTS) == []
        shutil.rmtree(tmp_path / "model")
    (checkpoints / RESULT_KEY).write_text(began)
    train(TrainConfig(recipe=ONE_EPOCH), dataset, tmp_path / "model", checkpoints, store=store)
    assert len(list(store.names())) == 1


def test_an_extended_run_is_neither_found_nor_stored(
    stored: tuple[ResultStore, Path], finished: Callable[[], Path], dataset: Path, tmp_path: Path
) -> None:
    """Its learning rates are not those of a run of as many epochs."""
    store, model = stored
    before = list(store.names())
    checkpoints = finished()
    shutil.copytree(model, tmp_path / "model")
    train(TrainConfig(recipe=LONGER), dataset, tmp_path / "model", checkpoints, extend=True, store=store)
    assert Manifest.read(tmp_path / "model", "model").config["extended_from_epochs"] == [1]
    assert list(store.names()) == before


def test_fresh_trains_although_a_model_is_stored(
    stored: tuple[ResultStore, Path], finished: Callable[[], Path], dataset: Path, tmp_path: Path
) -> None:
    store, model = stored
    made = train(TrainConfig(recipe=ONE_EPOCH), dataset, tmp_path / "model", finished(), store=store, fresh=True)
    assert not (tmp_path / "model" / ORIGIN).exists()
    assert made.digest == Manifest.read(model, "model").digest


def test_a_training_that_skipped_images_is_not_stored(dataset: Path, tmp_path: Path) -> None:
    """The images may be there for the next one, and the key does not say so."""
    from codetr.data.dataset.split import LOCATIONS

    copy = Path(shutil.copytree(dataset, tmp_path / "dataset"))
    images = Path(shutil.copytree(Path(str(Split.open(dataset, "train").path(0))).parent, tmp_path / "images"))
    write_json(copy / LOCATIONS, {"train": str(images), "val": str(images)})
    next(images.iterdir()).unlink()
    store = ResultStore.open(str(tmp_path / "store"))
    recipe = ONE_EPOCH.changed([("loader.bad_images", "skip"), ("loader.workers", 0)])
    made = train(TrainConfig(recipe=recipe), copy, tmp_path / "model", store=store)
    assert made.summary["bad_images"]
    assert store.storage.names(RESULTS) == []
