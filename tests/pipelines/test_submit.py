"""Submitting to a server and waiting, over HTTP: what is sent, what is found again, and what a person is told."""

import pytest

from codetr.core.errors import UserError
from pipelines.kfp_server import Server
from pipelines.submit import submit, wait

ARGUMENTS = {
    **{f"{step}_settings": {} for step in ("prepare", "evaluate", "register")},
    "train_settings": {"recipe": "tiny"},
    "registry": "/data/registry",
    "checkpoints": "/data/checkpoints/night",
    "image": "codetr:1",
}


def start(server, run_name="night", **fields):
    return submit(Server(server.endpoint, **fields), ARGUMENTS, experiment="codetr", run_name=run_name)


def test_a_run_is_created_with_the_pipeline_and_its_arguments(server):
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


def test_asking_again_finds_the_same_run_unless_it_failed(server):
    """A scheduler that was restarted while it waited must not train twice."""
    first = start(server)
    assert start(server) == first
    server.runs[0]["state"] = "SUCCEEDED"
    assert start(server) == first
    server.runs[0]["state"] = "FAILED"
    assert start(server) != first
    assert start(server, run_name="other") not in (first, "run-1")
    assert len(server.experiments) == 1


def test_waiting_ends_when_the_run_has_succeeded(server, capsys):
    wait(Server(server.endpoint), start(server), timeout=60, every=0.01)
    assert [line.split()[-1] for line in capsys.readouterr().out.splitlines() if line.startswith("Run run-0:")] == [
        "PENDING",
        "RUNNING",
        "SUCCEEDED",
    ]


def test_waiting_outlives_a_server_that_is_restarted(server):
    run_id = start(server)
    server.broken_answers = 5
    wait(Server(server.endpoint), run_id, timeout=60, every=0.01)


def test_a_server_that_stays_broken_ends_the_wait(server):
    run_id = start(server)
    server.broken_answers = 10_000
    with pytest.raises(UserError, match="the database is restarting"):
        wait(Server(server.endpoint), run_id, timeout=60, every=0.001)


def test_a_failed_run_is_an_error_that_names_the_task_and_the_reason(server):
    server.ending = "FAILED"
    with pytest.raises(UserError, match=r"FAILED \(train: out of memory\)"):
        wait(Server(server.endpoint), start(server), timeout=60, every=0.01)


def test_a_run_that_takes_too_long_is_an_error(server):
    server.ending = "RUNNING"
    with pytest.raises(UserError, match="has not ended after 0 s"):
        wait(Server(server.endpoint), start(server), timeout=0.2, every=0.01)


def test_a_run_that_does_not_exist_is_an_error_at_once(server):
    with pytest.raises(UserError, match="no run run-9"):
        wait(Server(server.endpoint), "run-9", timeout=60, every=10)


def test_tokens_are_sent_from_the_option_and_from_the_service_accounts_file(server, tmp_path, monkeypatch):
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
    with pytest.raises(UserError, match=r"KF_PIPELINES_SA_TOKEN_PATH=.*No such file"):
        start(server)


def test_a_server_of_several_users_needs_a_namespace(server):
    server.several_users = True
    with pytest.raises(UserError, match="--namespace"):
        start(server)
    start(server, namespace="team")
    assert server.experiments[0]["namespace"] == "team"


def test_a_wrong_address_is_an_error_that_says_so(server):
    for endpoint, problem in [
        ("localhost:8888", "not an http:// or https:// address"),
        ("http://127.0.0.1:9", "no Kubeflow Pipelines server answers"),
        (f"{server.endpoint}/elsewhere", "404.*Is this the address"),
    ]:
        with pytest.raises(UserError, match=problem):
            submit(Server(endpoint), ARGUMENTS, experiment="codetr", run_name="night")
