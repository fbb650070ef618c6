"""`python -m pipelines`: what the commands print and write when the work is done."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from codetr.core.manifest import FolderKind, Manifest
from pipelines.__main__ import main
from pipelines.run_local import LocalRun
from tests.support.paths import ROOT
from tests.support.pipelines.kfp_server import PipelineServer
from tests.support.pipelines.params import server_params
from tests.support.registry.registry_folders import MakeCandidate


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    """Run the command, and return its exit code."""
    monkeypatch.setattr("sys.argv", ["pipelines", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


def test_a_local_run_lists_its_folders_with_digests_and_metrics(
    make_candidate: MakeCandidate,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Airflow shows this file as the result of the task."""
    candidate = make_candidate()
    kinds: tuple[FolderKind, ...] = ("dataset", "registration")
    for kind in kinds:
        (tmp_path / kind).mkdir()
        Manifest.of(tmp_path / kind, kind, summary={"verdict": kind}).write(tmp_path / kind)
    given: list[Any] = []

    def work(settings: Any, **folders: Any) -> LocalRun:
        given.append(folders)
        return LocalRun(tmp_path / "dataset", *candidate, tmp_path / "registration")

    monkeypatch.setattr("pipelines.run_local.run_local", work)
    monkeypatch.chdir(ROOT)
    assert run(monkeypatch, "run-local", "--output", tmp_path / "out", "--registry", tmp_path / "registry") == 0
    assert given[0]["checkpoints"] == tmp_path / "out/checkpoints"
    written = json.loads((tmp_path / "out/run.json").read_text())
    assert written["folders"]["model"] == str(candidate.model)
    assert written["digests"]["evaluation"] == Manifest.read(candidate.evaluation, "evaluation").digest
    assert written["weights"] == Manifest.read(candidate.model, "model").files["model.safetensors"]
    assert written["metrics"] == {"AP": 0.4}
    assert written["registration"] == {"verdict": "registration"}
    assert f"Report: {candidate.evaluation}/report.html" in capsys.readouterr().out


def test_a_submitted_run_is_not_waited_for_unless_asked(
    server: PipelineServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A run takes days; the id is all that a script needs to look at it later."""
    server.first_state = "FAILED"
    monkeypatch.chdir(ROOT)
    assert run(monkeypatch, "submit", "--endpoint", server.endpoint, "--params", server_params(tmp_path)) == 0
    assert len(capsys.readouterr().out.split()) == 1


def test_runs_are_listed_looked_at_and_ended(
    server: PipelineServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("KFP_ENDPOINT", server.endpoint)
    server.ending = "RUNNING"
    assert run(monkeypatch, "submit", "--run-name", "night", "--params", server_params(tmp_path)) == 0
    assert run(monkeypatch, "list") == 0
    assert "night" in capsys.readouterr().out
    assert run(monkeypatch, "status", "night", "--json") == 0
    assert json.loads(capsys.readouterr().out)["state"] == "PENDING"
    assert run(monkeypatch, "cancel", "night") == 0
    assert capsys.readouterr().out == "night: CANCELED\n"
    assert run(monkeypatch, "status", "day") == 2
    assert "there is no run 'day'" in capsys.readouterr().err


def test_a_failed_run_is_shown_with_its_reason_and_watching_it_fails(
    server: PipelineServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("KFP_ENDPOINT", server.endpoint)
    server.first_state = "FAILED"
    assert run(monkeypatch, "submit", "--run-name", "night", "--params", server_params(tmp_path)) == 0
    assert run(monkeypatch, "status", "night", "--watch") == 70
    shown = capsys.readouterr()
    assert "out of memory" in shown.out
    assert f"{server.endpoint}/#/runs/details/run-0" in shown.out


def test_a_library_that_is_missing_is_named_only_if_the_extra_installs_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Advice to install kfp would be wrong for a module that codetr itself lost."""

    def lack(output: Path) -> None:
        raise ModuleNotFoundError("No module named", name=missing)

    monkeypatch.setattr("pipelines.compile.compile_pipeline", lack)
    missing = "kfp.kubernetes"
    assert run(monkeypatch, "compile") == 2
    assert "pipelines need kfp.kubernetes" in capsys.readouterr().err
    missing = "codetr.lost"
    monkeypatch.setattr("sys.argv", ["pipelines", "compile"])
    with pytest.raises(ModuleNotFoundError):
        main()
