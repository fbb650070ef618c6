"""Evaluations in the store: the same model, data, settings and champion are found; another champion is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from codetr.core.manifest import ORIGIN, Manifest
from codetr.evaluation.config import EvaluateConfig
from codetr.steps.evaluate import evaluate
from codetr.steps.register import RegisterConfig, register
from codetr.steps.store import ResultStore
from tests.support.models.small_models import write_dataset, write_model

CONFIG = EvaluateConfig(batch_size=2, workers=0, pictures=1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset, two models, and the stored evaluations of the first one without and with an empty registry."""
    folder = tmp_path_factory.mktemp("evaluated")
    write_dataset(folder, 3)
    write_model(folder / "model")
    another_model(folder / "other")
    evaluate(CONFIG, folder / "model", folder / "dataset", folder / "alone", store=store_in(folder))
    given = (folder / "model", folder / "dataset", folder / "first", folder / "registry")
    evaluate(CONFIG, *given, store=store_in(folder))
    return folder


def another_model(folder: Path, recipe: str = "1") -> Path:
    """The same weights with another manifest."""
    Manifest.of(write_model(folder), "model", summary={"recipe": recipe}).write(folder)
    return folder


def store_in(folder: Path) -> ResultStore:
    return ResultStore.open(str(folder / "store"))


def is_hit(output: Path) -> bool:
    return (output / ORIGIN).is_file()


def test_the_same_evaluation_is_found_with_other_loader_processes(folder: Path, tmp_path: Path) -> None:
    config = CONFIG.model_copy(update={"workers": 1})
    given = (folder / "model", folder / "dataset", tmp_path / "evaluation")
    found = evaluate(config, *given, store=store_in(folder))
    assert is_hit(tmp_path / "evaluation")
    assert found.digest == Manifest.read(folder / "alone", "evaluation").digest
    made = evaluate(config, *given, store=store_in(folder), fresh=True)
    assert not is_hit(tmp_path / "evaluation")
    assert made.digest == found.digest


def test_the_champion_is_part_of_the_key(folder: Path, tmp_path: Path) -> None:
    """The report would compare with a champion of last month, and the gate with other metrics than the report."""
    store, registry = store_in(folder), folder / "registry"

    def evaluated(name: str, model: str = "model") -> bool:
        evaluate(CONFIG, folder / model, folder / "dataset", tmp_path / name, registry, store=store)
        return is_hit(tmp_path / name)

    assert evaluated("no champion")
    register(RegisterConfig(), folder / "model", folder / "first", registry, tmp_path / "registration")
    assert not evaluated("other", "other")
    assert evaluated("again", "other")
    assert "champion" in Manifest.read(tmp_path / "again", "evaluation").inputs
    # The champion itself is compared with what it replaced: nothing.
    assert evaluated("champion")


@pytest.mark.parametrize("name", ["model", "dataset"])
def test_another_model_or_dataset_is_no_hit(folder: Path, tmp_path: Path, name: str) -> None:
    inputs = {"model": folder / "model", "dataset": folder / "dataset"}
    if name == "model":
        inputs["model"] = another_model(tmp_path / "model", "2")
    else:
        inputs["dataset"] = write_dataset(tmp_path / "data", 2)
    evaluate(CONFIG, inputs["model"], inputs["dataset"], tmp_path / "evaluation", store=store_in(folder))
    assert not is_hit(tmp_path / "evaluation")
