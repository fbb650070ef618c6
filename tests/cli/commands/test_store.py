"""`codetr store`, and the option `--store` of the steps."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
import yaml

from codetr.core.manifest import ORIGIN, Manifest
from codetr.steps.result_key import ResultKey
from codetr.steps.store import ResultStore, blob_name
from codetr.steps.train import TrainConfig, train
from tests.support.command import call
from tests.support.data.sources import source
from tests.support.launch.specs import IMAGE
from tests.support.training.runs import ONE_EPOCH

KEYS = [ResultKey("evaluation", {"model": f"sha256:{number}"}, {"split": "val"}, {}, {}) for number in range(2)]


@pytest.fixture
def address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store with two evaluations, the first of them 40 days old."""
    monkeypatch.setenv("CODETR_RUN", "retrain-7")
    store = ResultStore.open(str(tmp_path / "store"))
    for number, key in enumerate(KEYS):
        folder = tmp_path / f"evaluation-{number}"
        folder.mkdir()
        (folder / "metrics.json").write_text(f"{number}" * 2048)
        Manifest.of(folder, "evaluation").write(folder)
        store.publish(key, folder)
    for name in store.names():
        if name.endswith(f"{KEYS[0].digest[7:]}.json"):
            age(tmp_path / "store" / name, 40)
    return tmp_path / "store"


def age(path: Path, days: float) -> None:
    os.utime(path, (time.time() - days * 86400,) * 2)


def test_results_are_listed_and_shown_with_their_origin(address: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = call(capsys, "store", "list", address)
    lines = out.splitlines()
    assert code == 0
    assert [line.split()[0] for line in lines[1:]] == [KEYS[1].digest[7:19], KEYS[0].digest[7:19]]
    assert "evaluation" in lines[1]
    assert "2.2 KiB" in lines[1]
    assert "retrain-7" in lines[1]
    code, out, _ = call(capsys, "store", "show", address, KEYS[0].digest[7:15])
    assert code == 0
    assert "run retrain-7" in out
    assert "metrics.json" in out
    assert "model: sha256:0" in out


def test_a_key_that_fits_no_result_or_several_is_named(address: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = call(capsys, "store", "show", address, "zz")
    assert code == 2
    assert "has no result 'zz'" in err
    assert "codetr store list" in err


def test_a_damaged_result_is_found(address: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(capsys, "store", "verify", address)[:2] == (0, "2 results, 0 damaged\n")
    digest = Manifest.read(address.parent / "evaluation-0", "evaluation").files["metrics.json"]
    blob = address / blob_name(digest)
    blob.chmod(0o644)
    blob.write_text("changed")
    code, out, _ = call(capsys, "store", "verify", address)
    assert code == 1
    assert "another content of metrics.json" in out
    assert "2 results, 1 damaged" in out


def test_the_plan_is_printed_before_anything_is_removed(address: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What is removed may have taken days to compute."""
    for blob in address.glob("blobs/*/*"):
        age(blob, 41)
    store = ResultStore.open(str(address))
    code, out, _ = call(capsys, "store", "gc", address, "--older-than", "30")
    assert code == 0
    assert "too old" in out
    assert "1 result and 2 files of 2.2 KiB to be removed with --yes; 2.2 KiB stay" in out
    assert len(list(store.names())) == 2
    code, out, _ = call(capsys, "store", "gc", address, "--max-size", "3K", "--yes")
    assert "over the size" in out
    assert "1 result and 2 files of 2.2 KiB removed" in out
    assert [name.endswith(f"{KEYS[1].digest[7:]}.json") for name in store.names()] == [True]
    assert call(capsys, "store", "gc", address, "--max-size", "much")[0] == 2


def test_prepare_takes_the_store_from_the_environment(
    drawn: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """DVC and Airflow start the commands as they are."""
    monkeypatch.setenv("CODETR_STORE", str(tmp_path / "store"))
    files = source(drawn / "train")
    words = ("prepare", "--train", files.annotations, "--train-images", files.images, "--output")
    assert call(capsys, *words, tmp_path / "made")[0] == 0
    assert call(capsys, *words, tmp_path / "found")[0] == 0
    assert call(capsys, *words, tmp_path / "fresh", "--fresh")[0] == 0
    monkeypatch.setenv("CODETR_STORE", "")
    assert call(capsys, *words, tmp_path / "without")[0] == 0
    hits = {name: (tmp_path / name / ORIGIN).is_file() for name in ("made", "found", "fresh", "without")}
    assert hits == {"made": False, "found": True, "fresh": False, "without": False}


def test_a_stored_model_starts_no_job(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is no cluster: asking it for anything would fail."""
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    recipe = ONE_EPOCH
    store = ResultStore.open(str(tmp_path / "store"))
    made = train(TrainConfig(recipe=recipe), dataset, tmp_path / "made", store=store)
    cluster = tmp_path / "cluster.yaml"
    cluster.write_text(yaml.safe_dump({"launcher": "trainjob", "nodes": 1, "image": IMAGE}))
    words = ("train", "--on", cluster, "--recipe", recipe.model_dump_json(), "-d", dataset, "-o", tmp_path / "model")
    code, out, err = call(capsys, *words, "--store", tmp_path / "store")
    assert code == 0, err
    assert made.digest in out
    assert Manifest.read(tmp_path / "model", "model").digest == made.digest


def test_what_this_machine_cannot_read_is_left_to_the_job(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights may be on a volume of the cluster that is mounted there only: the launch must go on."""
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    cluster = tmp_path / "cluster.yaml"
    cluster.write_text(yaml.safe_dump({"launcher": "trainjob", "nodes": 1, "image": IMAGE}))
    recipe = ONE_EPOCH.changed([("init_from", "/weights/of/the/cluster")]).model_dump_json()
    words = ("train", "--on", cluster, "--recipe", recipe, "-d", dataset, "-o", tmp_path / "model")
    _, _, err = call(capsys, *words, "--store", tmp_path / "store")
    assert "/weights/of/the/cluster" not in err.splitlines()[-1], "the launch goes on, and fails for lack of a cluster"
