"""Submitting to a server and waiting, over HTTP: what is sent, what is found again, and how errors are reported."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest

from codetr.core.errors import RunFailed, UserError
from pipelines.kfp_server import PipelineApi
from pipelines.options import Server
from pipelines.submit import submit, wait
from tests.support.pipelines.kfp_server import PipelineServer

ARGUMENTS = {
    **{f"{step}_settings": {} for step in ("prepare", "evaluate", "register")},
    "train_settings": {"recipe": "tiny"},
    "registry": "/data/registry",
    "checkpoints": "/data/checkpoints/night",
    "image": "codetr:1",
}


def start(server: PipelineServer, run_name: str = "night", **fields: Any) -> str:
    return submit(Server(endpoint=server.endpoint, **fields), ARGUMENTS, experiment="codetr", run_name=run_name)


def test_a_run_is_created_with_the_pipeline_and_its_arguments(server: PipelineServer) -> None:
    run_id = start(server)
    [run] = server.runs
    assert run["run_id"] == run_id
    assert run["display_name"] == "night"
    assert run["experiment_id"] == server.experiments[0]["experiment_id"]
    # With Kubernetes settings in it, the specification has a document for the pipeline and one for the platform.
    assert run["pipeline_spec"]["pipeline_spec"]["pipelineInfo"]["name"] == "codetr-retrain"
    parameters = run["runtime_config"]["parameters"]
    assert parameters["train_settings"] == {"recipe": "tiny"}
    assert parameters["checkpoints"] == "/data/checkpoints/night"


def test_asking_again_finds_the_same_run_unless_it_failed(server: PipelineServer) -> None:
    """A scheduler that was restarted while it waited must not train twice."""
    first = start(server)
    assert start(server) == first
    server.runs[0]["state"] = "SUCCEEDED"
    assert start(server) == first
    server.runs[0]["state"] = "FAILED"
    assert start(server) != first
    assert start(server, run_name="other") not in (first, "run-1")
    assert len(server.experiments) == 1


def test_a_run_is_found_among_any_number_of_others(server: PipelineServer) -> None:
    """A schedule makes hundreds; the one that runs since last night is not among the newest."""
    first = start(server)
    for number in range(230):
        server.runs.append({**server.runs[0], "run_id": f"other-{number}", "display_name": f"other {number}"})
    assert start(server) == first


def test_runs_of_a_name_are_found_on_every_page(server: PipelineServer) -> None:
    """All of them had failed but the oldest, which has succeeded."""
    first = start(server)
    server.runs[0]["state"] = "SUCCEEDED"
    for number in range(230):
        server.runs.append({**server.runs[0], "run_id": f"failed-{number}", "state": "FAILED"})
    assert start(server) == first


def test_the_same_name_with_other_arguments_is_refused(server: PipelineServer) -> None:
    """The caller would take the result of other settings for its result."""
    start(server)
    changed = {**ARGUMENTS, "train_settings": {"recipe": "co_dino_5scale_r50_1x_coco"}}
    with pytest.raises(UserError, match=r"'night' \(run-0, PENDING\) has other arguments.*--run-name"):
        submit(Server(endpoint=server.endpoint), changed, experiment="codetr", run_name="night")
    assert len(server.runs) == 1


def test_a_run_without_a_digest_is_found_by_its_name(server: PipelineServer) -> None:
    """It was started in the browser, or by an earlier version."""
    first = start(server)
    server.runs[0]["description"] = "by hand"
    assert start(server) == first


def test_of_two_runs_that_start_at_once_the_first_one_stays(server: PipelineServer) -> None:
    """Names of runs are not unique on the server: two schedulers would train side by side."""
    server.rival = True
    assert start(server) == "rival"
    assert [run["state"] for run in server.runs] == ["RUNNING", "CANCELING"]
    assert start(server) == "rival"


def test_waiting_ends_when_the_run_has_succeeded(server: PipelineServer, capsys: pytest.CaptureFixture[str]) -> None:
    wait(Server(endpoint=server.endpoint), start(server), timeout=60, every=0.01)
    assert [line.split()[-1] for line in capsys.readouterr().out.splitlines() if line.startswith("Run run-0:")] == [
        "PENDING",
        "RUNNING",
        "SUCCEEDED",
    ]


def test_waiting_outlives_a_server_that_is_restarted(server: PipelineServer) -> None:
    run_id = start(server)
    server.broken_answers = 5
    wait(Server(endpoint=server.endpoint), run_id, timeout=60, every=0.01)


def test_a_server_that_stays_broken_ends_the_wait(server: PipelineServer) -> None:
    run_id = start(server)
    server.broken_answers = 10_000
    with pytest.raises(RunFailed, match="the database is restarting"):
        wait(Server(endpoint=server.endpoint), run_id, timeout=60, every=0.001)


def test_a_failed_run_is_an_error_that_names_the_task_and_the_reason(server: PipelineServer) -> None:
    server.ending = "FAILED"
    with pytest.raises(RunFailed, match=r"FAILED \(train: out of memory\)"):
        wait(Server(endpoint=server.endpoint), start(server), timeout=60, every=0.01)


@pytest.mark.parametrize("reason", ["main: Error (exit code 2)", "failed to execute component: exit status 2"])
def test_a_task_that_ended_with_a_mistake_makes_the_run_a_mistake(server: PipelineServer, reason: str) -> None:
    """A scheduler would train again for hours, for the same error."""
    server.ending, server.reason = "FAILED", reason
    with pytest.raises(UserError, match="exit"):
        wait(Server(endpoint=server.endpoint), start(server), timeout=60, every=0.01)


def test_a_canceled_run_ends_the_wait(server: PipelineServer) -> None:
    """The waiting of KFP's client never ends."""
    server.ending = "CANCELED"
    with pytest.raises(RunFailed, match="ended as CANCELED"):
        wait(Server(endpoint=server.endpoint), start(server), timeout=60, every=0.01)


@pytest.mark.parametrize(
    ("status", "message", "kind"),
    [
        (400, "the pipeline is invalid", UserError),
        (403, "no permission in namespace team", UserError),
        (500, "InternalServerError: Invalid input error: Unrecognized input parameter: image", UserError),
        (429, "too many requests", RunFailed),
        (500, "the database is away", RunFailed),
        (503, "no healthy upstream", RunFailed),
    ],
)
def test_a_refused_request_is_a_mistake_and_a_server_in_trouble_is_not(
    server: PipelineServer, status: int, message: str, kind: type[Exception]
) -> None:
    """What is refused would be refused again; what is in trouble may accept the next request."""
    server.refusal = (status, message)
    with pytest.raises(kind, match=f"{status} {message}"):
        start(server)


def test_a_server_that_does_not_answer_in_time_is_a_failure() -> None:
    """A connection that is accepted and never answered would hold the scheduler's slot for ever."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(RunFailed, match=r"no Kubeflow Pipelines server answers.*timed out"):
            PipelineApi.connect(Server(endpoint=endpoint), timeout=0.2)


def test_a_run_that_takes_too_long_is_an_error(server: PipelineServer) -> None:
    server.ending = "RUNNING"
    with pytest.raises(RunFailed, match="has not ended after 0 s"):
        wait(Server(endpoint=server.endpoint), start(server), timeout=0.2, every=0.01)


def test_a_run_that_does_not_exist_is_an_error_at_once(server: PipelineServer) -> None:
    with pytest.raises(UserError, match="no run run-9"):
        wait(Server(endpoint=server.endpoint), "run-9", timeout=60, every=10)


def test_tokens_are_sent_from_the_option_and_from_the_service_accounts_file(
    server: PipelineServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.token = "secret"
    with pytest.raises(UserError, match=r"401.*KFP_TOKEN"):
        start(server)
    with pytest.raises(UserError, match="401"):
        start(server, token="wrong")
    start(server, token="secret")
    file = tmp_path / "token"
    file.write_text("secret\n")
    monkeypatch.setenv("KF_PIPELINES_SA_TOKEN_PATH", str(file))
    start(server, run_name="from the file")
    assert [run["display_name"] for run in server.runs] == ["night", "from the file"]
    file.unlink()
    with pytest.raises(UserError, match=r"KF_PIPELINES_SA_TOKEN_PATH=.*no such file"):
        start(server)


def test_a_server_of_several_users_needs_a_namespace(server: PipelineServer) -> None:
    server.several_users = True
    with pytest.raises(UserError, match="--namespace"):
        start(server)
    start(server, namespace="team")
    assert server.experiments[0]["namespace"] == "team"


def test_a_wrong_address_is_an_error_that_says_so(server: PipelineServer) -> None:
    cases: list[tuple[str, type[Exception], str]] = [
        ("localhost:8888", UserError, "not an http:// or https:// address"),
        ("http://[::1:8888", UserError, "is not an address"),
        # The address may be right, and the server be away.
        ("http://127.0.0.1:9", RunFailed, "no Kubeflow Pipelines server answers.*port-forward"),
        (f"{server.endpoint}/elsewhere", UserError, "404.*Is this the address"),
        (f"{server.endpoint}/page", UserError, "does not answer as a Kubeflow Pipelines server"),
    ]
    for endpoint, kind, problem in cases:
        with pytest.raises(kind, match=problem):
            submit(Server(endpoint=endpoint), ARGUMENTS, experiment="codetr", run_name="night")
