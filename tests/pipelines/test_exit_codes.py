"""Every end of a command or a run has one exit code, on which schedulers retry, resume or give up.

The table is tests/support/pipelines/exit_codes.py; tests/dags holds that Airflow reads the codes the same way.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from codetr.cli import main as codetr_main
from codetr.core.errors import RunFailed, UserError
from codetr.core.exit_codes import ExitCode
from codetr.core.failure_file import FAILURE_FILE_VARIABLE, Failure
from codetr.distributed.signals import PreemptedError
from codetr.registry.store import Registry
from pipelines.__main__ import main as pipelines_main
from pipelines.run_local import step_error
from tests.support.paths import ROOT
from tests.support.pipelines.exit_codes import AIRFLOW_ENDS, COMMAND_ENDS, SERVER_ENDS
from tests.support.pipelines.kfp_server import PipelineServer
from tests.support.pipelines.params import server_params

ERRORS: dict[str, BaseException] = {
    "a mistake": UserError("the value is wrong"),
    "a failure": RunFailed("the server is away"),
    "preempted": PreemptedError(),
    "Ctrl-C": KeyboardInterrupt(),
}


def test_every_exit_code_is_in_the_tables() -> None:
    assert {*COMMAND_ENDS.values(), ExitCode.FINDINGS} == set(ExitCode)
    assert set(ExitCode) <= set(AIRFLOW_ENDS)


def end(main: Callable[[], object], monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """Run a command, and return its exit code."""
    monkeypatch.setattr("sys.argv", ["command", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


@pytest.mark.parametrize("kind", COMMAND_ENDS)
def test_ends_of_codetr(kind: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    registry = Registry.open(tmp_path / "registry", create=True)

    def work(root: Path) -> Registry:
        if kind in ERRORS:
            raise ERRORS[kind]
        return registry

    monkeypatch.setattr(Registry, "open", work)
    assert end(codetr_main, monkeypatch, "registry", "list", "folder") == COMMAND_ENDS[kind]


@pytest.mark.parametrize("kind", COMMAND_ENDS)
def test_ends_of_pipelines(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def work(output: Path) -> None:
        if kind in ERRORS:
            raise ERRORS[kind]

    monkeypatch.setattr("pipelines.compile.compile_pipeline", work)
    assert end(pipelines_main, monkeypatch, "compile") == COMMAND_ENDS[kind]


@pytest.mark.parametrize("kind", SERVER_ENDS)
def test_ends_of_runs_on_a_server(
    kind: str, server: PipelineServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With "out of memory" as a mistake, a nightly training would end for good at the first full GPU."""
    endpoint, timeout = server.endpoint, "1"
    match kind:
        case "succeeded":
            server.first_state = "SUCCEEDED"
        case "a task ran out of memory":
            server.first_state, server.reason = "FAILED", "OOMKilled (exit code 137)"
        case "a task ended with a mistake":
            server.first_state, server.reason = "FAILED", "main: Error (exit code 2)"
        case "canceled":
            server.first_state = "CANCELED"
        case "not in time":
            timeout = "0"
        case "no permission":
            server.refusal = (403, "not in this namespace")
        case "the server is overloaded":
            server.refusal = (503, "no healthy upstream")
        case "no server":
            endpoint = "http://127.0.0.1:9"
    monkeypatch.chdir(ROOT)
    arguments = ["submit", "--endpoint", endpoint, "--wait", "--timeout", timeout]
    arguments += ["--params", str(server_params(tmp_path))]
    assert end(pipelines_main, monkeypatch, *arguments) == SERVER_ENDS[kind]


@pytest.mark.parametrize("code", [code for code in AIRFLOW_ENDS if code > 0])
def test_ends_of_steps_of_a_local_run(code: int) -> None:
    """The local runner only says that a task failed; the exit code of the step decides."""
    error = step_error("Inner task failed: train", Failure(exit_code=code, message="params.yaml: no such file"))
    known = {2: UserError, 75: SystemExit, 130: SystemExit}
    assert type(error) is known.get(code, RunFailed)
    if isinstance(error, SystemExit):
        assert error.code == code
    else:
        assert str(error) == "Inner task failed: train: params.yaml: no such file"


def test_a_step_of_a_local_run_that_was_killed_is_a_failure() -> None:
    """It could not report anything."""
    assert isinstance(step_error("Inner task failed: train", None), RunFailed)


def test_a_mistake_that_a_step_finds_ends_a_local_run_as_a_mistake(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The real runner and the real step: the last line is the step's message, which Airflow shows."""
    params = tmp_path / "params.yaml"
    params.write_text(json.dumps({"prepare": {"train": {"annotations": "missing.json"}}, "train": {"recipe": "tiny"}}))
    monkeypatch.delenv(FAILURE_FILE_VARIABLE, raising=False)
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    folders = ["--output", str(tmp_path / "out"), "--registry", str(tmp_path / "registry")]
    assert end(pipelines_main, monkeypatch, "run-local", "--params", str(params), *folders) == 2
    last = capfd.readouterr().err.strip().splitlines()[-1]
    assert last.startswith("Error: ")
    assert "prepare" in last
    assert "missing.json: no such annotation file" in last
    # The runner makes folders for itself and for each task.
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize("option", ["--output", "--registry", "--checkpoints"])
def test_folders_that_cannot_be_written_are_named_before_a_step_runs(
    option: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The runner would say only that a task failed; a registry is written to after hours of training."""
    params = tmp_path / "params.yaml"
    params.write_text(json.dumps({"prepare": {"train": {"annotations": "missing.json"}}, "train": {"recipe": "tiny"}}))
    (tmp_path / "file").touch()
    folders = {name: tmp_path / name for name in ("--output", "--registry", "--checkpoints")}
    folders[option] = tmp_path / "file" / "folder"
    arguments = [text for name, path in folders.items() for text in (name, str(path))]
    assert end(pipelines_main, monkeypatch, "run-local", "--params", str(params), *arguments) == 2
    assert f"Error: {folders[option]}: cannot be created" in capsys.readouterr().err
    assert not (tmp_path / "--output").exists()
