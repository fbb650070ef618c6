"""Runs are written with the real wandb and read back from its log; failures are real."""

from __future__ import annotations

import json
import logging
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from codetr.core.errors import UserError
from codetr.core.manifest import FolderKind, Manifest
from codetr.tracking import BoxedImage, TrackedBox, Tracker, TrackingSettings
from codetr.tracking.settings import answers, has_credentials


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_DIR", "WANDB_PROJECT", "WANDB_RUN_GROUP", "WANDB_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "no-netrc"))
    for name in ("WANDB_DATA_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR"):
        monkeypatch.setenv(name, str(tmp_path / "home"))


@pytest.fixture
def settings(tmp_path: Path) -> TrackingSettings:
    return TrackingSettings(folder=tmp_path, project="shapes", group="retrain-7")


def run_folders(folder: Path) -> list[Path]:
    return sorted((folder / "wandb").glob("offline-run-*"))


def records(run: Path, kind: str) -> list[dict]:
    """The records of one type in a run's log, as wandb's reader prints them."""
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(run)]
    text = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout
    rows = [json.loads(line) for line in text.splitlines()]
    return [row for row in rows if row.get("type") == kind]


def start(settings: TrackingSettings, **arguments: Any) -> Tracker:
    return Tracker.start("train", Path("model"), settings=settings, **arguments)


def write_step(folder: Path, kind: FolderKind, **fields: Any) -> Manifest:
    folder.mkdir()
    (folder / "content.txt").write_text(kind)
    manifest = Manifest.of(folder, kind, **fields)
    manifest.write(folder)
    return manifest


def test_a_run_holds_what_was_logged(
    settings: TrackingSettings, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Metrics, config, summary, boxes, table and artifacts with lineage reach wandb's log; nothing is printed."""
    dataset = write_step(tmp_path / "dataset", "dataset")
    model = write_step(tmp_path / "model", "model", inputs={"dataset": dataset.digest}, summary={"AP": 0.4})
    picture = BoxedImage(
        np.zeros((40, 50, 3), np.uint8),
        ["square", "disc"],
        {"predictions": [TrackedBox((1, 2, 30, 20), 1, 0.75)], "truth": [TrackedBox((1, 2, 29, 20), 1)]},
        "image 7",
    )
    with start(settings, config={"training": {"epochs": 3}}) as run:
        run.uses(tmp_path / "dataset", "dataset")
        run.log({"loss": 2.0}, step=10)
        run.log({"loss": 1.0, "lr": 1e-4}, step=20)
        run.images("examples", [picture], step=20)
        run.table("per_class", ["class", "AP"], [["square", 0.5], ["disc", None]])
        run.chart("costs", "bar", ("type", "dAP50"), [["missed", 0.2]], "What mistakes cost")
        run.chart("reliability", "line", ("score", "right"), [[0.1, 0.0], [0.9, 0.8]], "By score")
        run.summary({"AP": 0.4})
        run.produces(tmp_path / "model", "model")
    assert capfd.readouterr() == ("", "")

    (folder,) = run_folders(tmp_path)
    assert str(folder) == run.location
    (begun,) = records(folder, "run")
    assert begun["run"]["project"] == "shapes"
    assert begun["run"]["run_group"] == "retrain-7"
    assert begun["run"]["job_type"] == "train"
    assert begun["run"]["config"]["update"]["training"] == {"epochs": 3}
    history = [row["history"]["item"] for row in records(folder, "history")]
    assert [(row["_step"], row["loss"]) for row in history[:2]] == [(10, 2.0), (20, 1.0)]
    layers = {key.split(".")[2] for key in history[1] if key.startswith("examples/01.boxes.")}
    assert layers == {"predictions", "truth"}
    boxes = json.loads((folder / "files" / history[1]["examples/01.boxes.predictions.path"]).read_text())
    (box,) = boxes["box_data"]
    assert box["position"] == {"minX": 1, "minY": 2, "maxX": 30, "maxY": 20}
    assert (box["class_id"], box["scores"], box["box_caption"]) == (1, {"score": 0.75}, "disc 0.75")
    (table,) = (folder / "files").glob("media/table/per_class*.json")
    assert json.loads(table.read_text())["data"] == [["square", 0.5], ["disc", None]]
    for name, data in (("costs", [["missed", 0.2]]), ("reliability", [[0.1, 0.0], [0.9, 0.8]])):
        (table,) = (folder / "files").glob(f"media/table/{name}*.json")
        assert json.loads(table.read_text())["data"] == data
    shown = {key: value for row in records(folder, "config") for key, value in row["config"]["update"].items()}
    kinds = {name: shown[f"_wandb.visualize.{name}"]["panel_config"] for name in ("costs", "reliability")}
    assert [panel["panelDefId"] for panel in kinds.values()] == ["wandb/bar/v0", "wandb/line/v0"]
    assert any(row["summary"]["update"].get("AP") == 0.4 for row in records(folder, "summary"))
    assert any(
        row["config"]["update"].get("inputs") == {"dataset": dataset.digest} for row in records(folder, "config")
    )
    (artifact,) = [row["artifact"] for row in records(folder, "artifact") if row["artifact"]["type"] == "model"]
    assert model.digest[7:19] in artifact["aliases"]
    assert {entry["path"] for entry in artifact["manifest"]["contents"]} == {"manifest.json", "content.txt"}
    assert json.loads(artifact["metadata"])["inputs"] == {"dataset": dataset.digest}


def test_a_restarted_run_keeps_its_id(settings: TrackingSettings, tmp_path: Path) -> None:
    """Otherwise every restart would start new curves instead of continuing the old ones."""
    for step in (1, 2):
        with start(settings, identity=tmp_path / "work" / "wandb.json") as run:
            run.log({"loss": 1.0 / step}, step=step)
        time.sleep(1.1)  # wandb names folders by the second
    folders = run_folders(tmp_path)
    assert len(folders) == 2
    assert len({records(folder, "run")[0]["run"]["run_id"] for folder in folders}) == 1


def test_only_rank_zero_tracks(settings: TrackingSettings, tmp_path: Path) -> None:
    with start(settings, rank=1) as run:
        run.log({"loss": 1.0}, step=1)
    assert run.location is None
    assert run_folders(tmp_path) == []


def test_disabled_means_no_run_and_no_thread(tmp_path: Path) -> None:
    with start(TrackingSettings(mode="disabled", folder=tmp_path)) as run:
        run.log({"loss": 1.0}, step=1)
        assert not any(thread.name == "wandb" for thread in threading.enumerate())
    assert not (tmp_path / "wandb").exists()


@pytest.mark.parametrize(("error", "code"), [(ValueError("loss is not finite"), 1), (SystemExit(75), 75)])
def test_a_step_that_did_not_end_well_is_marked_so(
    settings: TrackingSettings, tmp_path: Path, error: BaseException, code: int
) -> None:
    """Otherwise failed and preempted runs would look finished."""
    with pytest.raises(type(error)), start(settings):
        raise error
    (folder,) = run_folders(tmp_path)
    (ended,) = records(folder, "exit")
    assert ended["exit"]["exit_code"] == code


def test_a_folder_that_cannot_be_made_is_one_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A full or read-only disk under wandb does not stop training."""
    (tmp_path / "file").write_text("in the way")
    with (
        caplog.at_level(logging.WARNING),
        start(TrackingSettings(mode="offline", folder=tmp_path / "file" / "x")) as run,
    ):
        for step in range(100):
            run.log({"loss": 1.0}, step=step)
        run.produces(tmp_path / "nowhere", "model")
    assert len(caplog.records) == 1
    assert "The step continues" in caplog.text


def test_trouble_in_the_middle_is_one_warning_and_the_rest_is_kept(
    settings: TrackingSettings, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """An image that wandb cannot read, twice, neither stops the run nor loses later metrics."""
    broken = BoxedImage(tmp_path / "missing.png", ["square"])
    with caplog.at_level(logging.WARNING), start(settings) as run:
        run.images("examples", [broken])
        run.images("examples", [broken])
        run.log({"loss": 0.5}, step=5)
    assert len(caplog.records) == 1
    (folder,) = run_folders(tmp_path)
    assert [row["history"]["item"]["loss"] for row in records(folder, "history")] == [0.5]


class NotFound(BaseHTTPRequestHandler):
    """Answers every request with 404."""

    def do_GET(self) -> None:
        self.send_error(404)

    do_POST = do_GET

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server(request: pytest.FixtureRequest) -> Iterator[str]:
    """Address of a server that refuses connections, never answers, or answers everything with "not found"."""
    if request.param == "refusing":
        yield "http://127.0.0.1:9"
    elif request.param == "silent":
        with socket.create_server(("127.0.0.1", 0), backlog=64) as listening:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    else:
        with ThreadingHTTPServer(("127.0.0.1", 0), NotFound) as serving:
            threading.Thread(target=serving.serve_forever, daemon=True).start()
            yield f"http://127.0.0.1:{serving.server_port}"
            serving.shutdown()


@pytest.mark.parametrize("server", ["refusing", "silent", "not W&B"], indirect=True)
def test_an_unusable_server_does_not_hold_up_the_run_which_is_on_disk(server: str, tmp_path: Path) -> None:
    """A key with a dead server neither stops nor delays the run, nor loses its metrics."""
    script = """
import os, sys
from pathlib import Path
from codetr.tracking import Tracker, TrackingSettings

settings = TrackingSettings.from_environment({**os.environ, "WANDB_DIR": sys.argv[1]})
run = Tracker.start("train", Path("model"), settings=settings)
for step in range(1000):
    run.log({"loss": 1.0}, step=step)
run.finish()
"""
    key = "0123456789abcdef0123456789abcdef01234567"
    process = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)],
        env={**os.environ, "WANDB_BASE_URL": server, "WANDB_API_KEY": key},
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    assert process.stderr.count("The step continues") == 1
    assert "Traceback" not in process.stderr
    (folder,) = run_folders(tmp_path)
    assert len(records(folder, "history")) == 1000


def test_credentials_are_looked_for_where_wandb_looks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Otherwise a machine without a key would be prompted for one, or wait for the network."""
    url = "https://wandb.example.org"
    assert not has_credentials(url)
    netrc = tmp_path / "netrc"
    netrc.write_text("machine wandb.example.org login user password 0123\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    assert has_credentials(url)
    assert not has_credentials("https://api.wandb.ai")
    monkeypatch.setenv("WANDB_API_KEY", "0123")
    assert has_credentials("https://api.wandb.ai")


@pytest.mark.parametrize(
    ("server", "expected"), [("refusing", False), ("silent", False), ("not W&B", True)], indirect=["server"]
)
def test_any_answer_is_an_answer(server: str, expected: bool) -> None:
    assert answers(server, timeout=0.5) is expected


def test_settings_come_from_the_variables_of_wandb(tmp_path: Path) -> None:
    environment = {"WANDB_MODE": "offline", "WANDB_PROJECT": "p", "WANDB_RUN_GROUP": "g", "WANDB_DIR": str(tmp_path)}
    settings = TrackingSettings.from_environment(environment)
    assert settings == TrackingSettings(mode="offline", project="p", group="g", folder=tmp_path)
    # wandb accepts this older name as well: it does not stop a run.
    assert TrackingSettings.from_environment({"WANDB_MODE": "dryrun"}).mode == "offline"
    with pytest.raises(UserError, match=r"WANDB_.*mode"):
        TrackingSettings.from_environment({"WANDB_MODE": "sometimes"})


def test_a_full_disk_is_a_warning(settings: TrackingSettings, caplog: pytest.LogCaptureFixture) -> None:
    """wandb's service drops what it cannot write, and the run looks complete."""
    with caplog.at_level(logging.WARNING), start(settings) as run:
        run.log({"loss": 1.0}, step=1)
        assert run.location is not None
        (Path(run.location) / "files" / ".codetr-probe").mkdir()  # so that no file of the name can be written
    assert "cannot be written" in caplog.text
    assert "metrics are lost" in caplog.text


def test_runs_on_disk_are_beside_the_output_and_announced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A folder in the current folder, whatever --output says, is found by nobody."""
    for name in ("WANDB_DIR", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    with caplog.at_level("INFO", logger="codetr"), Tracker.start("prepare", tmp_path / "mine" / "dataset"):
        pass
    (run,) = run_folders(tmp_path / "mine")
    (message,) = [record.message for record in caplog.records if record.message.startswith("W&B")]
    assert str(run) in message
    assert [path.name for path in tmp_path.iterdir() if path.name != "home"] == ["mine"]
