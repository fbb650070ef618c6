"""Whether a pipeline's run is being cancelled, asked of a server over HTTP."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from codetr.launch.pipeline_run import PipelineRun
from tests.support.pipelines.kfp_server import running_server


def test_only_a_run_that_the_server_calls_cancelled_is(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Training would end because a server restarts, or a token has expired."""
    token = tmp_path / "token"
    with running_server() as server:
        environment = {"CODETR_RUN_ID": "run-0", "KFP_ENDPOINT": server.endpoint + "/"}
        run = PipelineRun.of_environment({**environment, "KF_PIPELINES_SA_TOKEN_PATH": str(token)})
        assert run is not None
        assert not run.is_cancelled(), "there is no such run"
        for state in ("PENDING", "RUNNING", "SUCCEEDED", "FAILED"):
            server.runs = [{"run_id": "run-0", "state": state}]
            assert not run.is_cancelled()
        for state in ("CANCELING", "CANCELED"):
            server.runs = [{"run_id": "run-0", "state": state}]
            assert run.is_cancelled()
        server.token = "secret"
        assert not run.is_cancelled()
        token.write_text("secret\n")
        assert run.is_cancelled()
        server.broken_answers = 2
        caplog.clear()
        assert not run.is_cancelled()
        assert not run.is_cancelled()
        assert len(caplog.records) == 1, "it is asked every few seconds for days"


def test_a_server_that_is_away_does_not_end_training() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    assert not PipelineRun(f"http://127.0.0.1:{port}", "run-0").is_cancelled()


def test_outside_a_pipeline_there_is_none() -> None:
    assert PipelineRun.of_environment({}) is None
    assert PipelineRun.of_environment({"KFP_ENDPOINT": "http://localhost:8888"}) is None
