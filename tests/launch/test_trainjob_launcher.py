"""TrainJobs on a server that answers over HTTP: created once, adopted after a crash, never taken from others."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from codetr.core.errors import RunFailed, UserError
from codetr.launch.job import Job
from codetr.launch.state import Phase
from codetr.launch.trainjob import DIGEST, HEARTBEAT
from codetr.launch.trainjob_launcher import TrainJobLauncher
from tests.support.launch.kubernetes_server import KubernetesServer, ended, kubernetes_server, stamped
from tests.support.launch.specs import cluster, job

POD = {"CODETR_POD_NAME": "launcher-1", "CODETR_POD_UID": "uid-1"}


@pytest.fixture
def server() -> Iterator[KubernetesServer]:
    with kubernetes_server() as running:
        yield running


def launcher(server: KubernetesServer, environment: dict[str, str] | None = None) -> TrainJobLauncher:
    return TrainJobLauncher(server.api(), environment=environment or {})


def test_a_second_start_adopts_the_job(server: KubernetesServer) -> None:
    """A launcher that was killed between creating the job and remembering it must not create another one."""
    launcher(server, POD).start(job(), 0, seconds=3600)
    server.jobs[job().attempt_name(0)]["metadata"]["annotations"][HEARTBEAT] = "2020-01-01T00:00:00Z"
    again = launcher(server, {"CODETR_POD_NAME": "launcher-2", "CODETR_POD_UID": "uid-2"})
    assert again.attempts(job()) == 1
    again.start(job(), 0, seconds=3600)
    [metadata] = [one["metadata"] for one in server.jobs.values()]
    # The end of the first launcher's pod must not take the job with it.
    assert [owner["uid"] for owner in metadata["ownerReferences"]] == ["uid-2"]
    assert metadata["annotations"][HEARTBEAT] > "2026"


def test_a_process_outside_the_cluster_takes_the_job_from_its_pod(server: KubernetesServer) -> None:
    launcher(server, POD).start(job(), 0, seconds=3600)
    launcher(server).start(job(), 0, seconds=3600)
    [metadata] = [one["metadata"] for one in server.jobs.values()]
    assert "ownerReferences" not in metadata


def test_a_foreign_job_of_that_name_is_refused_and_left_alone(server: KubernetesServer) -> None:
    launcher(server).start(job(), 0, seconds=3600)
    server.jobs[job().attempt_name(0)]["metadata"]["annotations"][DIGEST] = "other"
    for action in (
        lambda one: one.attempts(job()),
        lambda one: one.start(job(), 0, seconds=3600),
        lambda one: one.cancel(job()),
    ):
        with pytest.raises(UserError, match="another digest"):
            action(launcher(server))
    assert len(server.jobs) == 1


def test_a_job_without_our_label_is_refused(server: KubernetesServer) -> None:
    server.jobs[job().attempt_name(0)] = {"metadata": {"name": job().attempt_name(0)}}
    with pytest.raises(UserError, match="codetr did not start"):
        launcher(server).start(job(), 0, seconds=3600)


def test_life_of_an_attempt(server: KubernetesServer) -> None:
    one, name = launcher(server), job().attempt_name(0)
    one.start(job(), 0, seconds=3600)
    assert phase(one) is Phase.QUEUED
    first, second = (server.set_pod(name, index, "Running") for index in range(2))
    assert phase(one) is Phase.RUNNING
    server.logs[first] = [stamped("epoch 1")]
    server.logs[second] = [stamped("epoch 1"), stamped("Error: wrong")]
    assert list(one.log(job(), 0)) == ["node-0-0: epoch 1", "node-0-1: epoch 1", "node-0-1: Error: wrong"]
    server.logs[first] += [stamped("epoch 2")]
    assert list(one.log(job(), 0)) == ["node-0-0: epoch 2"]
    server.set_pod(name, 1, "Failed", **ended(2))
    server.set_condition(name, "Failed", "FailedJobs")
    state = one.state(job(), 0)
    assert state is not None
    assert (state.phase, state.ends[0].exit_code, state.ends[0].log[-1]) == (Phase.FAILED, 2, "Error: wrong")
    one.cancel(job())
    assert server.jobs == server.pods == {}
    assert one.state(job(), 0) is None


def test_a_long_log_is_followed_to_its_end(server: KubernetesServer) -> None:
    """A cluster returns the first bytes of what is asked for: the whole log would show nothing new after a day."""
    one, name = launcher(server), job().attempt_name(0)
    one.start(job(), 0, seconds=3600)
    pod = server.set_pod(name, 0, "Running")
    shown: list[str] = []
    for day in range(5):
        server.logs[pod] += [stamped(f"{day}.{line} {'x' * 1000}") for line in range(2000)]
        shown += [line.partition(" ")[0] for line in one.log(job(), 0)]
    assert shown[-2000:] == [f"4.{line}" for line in range(2000)]
    assert len(shown) == len(set(shown)) > 8000


def test_a_log_that_cannot_be_read_is_no_failure(server: KubernetesServer) -> None:
    """It is read again with the next look; the end of the job does not depend on it."""
    one, name = launcher(server), job().attempt_name(0)
    one.start(job(), 0, seconds=3600)
    server.logs[server.set_pod(name, 0, "Running")] = [stamped("epoch 1")]
    server.refusals = [(503, "restarting")]
    assert list(one.log(job(), 0)) == []
    assert list(one.log(job(), 0)) == ["epoch 1"]


def test_two_jobs_never_write_one_folder(server: KubernetesServer) -> None:
    """The same command with other data, started while the first runs, would take its checkpoints away."""
    launcher(server).start(job(), 0, seconds=3600)
    other = Job("Nightly run 7", ("train",), "/data/model", cluster(), inputs=(("dataset", "sha256:2"),))
    with pytest.raises(UserError, match=rf"/data/model: the job {job().attempt_name(0)}, which runs, writes it"):
        launcher(server).start(other, 0, seconds=3600)
    server.set_condition(job().attempt_name(0), "Complete")
    launcher(server).start(other, 0, seconds=3600)


def test_cancel_twice_and_heartbeat_of_a_deleted_job_are_no_errors(server: KubernetesServer) -> None:
    one = launcher(server)
    one.start(job(), 0, seconds=3600)
    one.cancel(job())
    one.cancel(job())
    one.heartbeat(job(), 0)


def test_other_jobs_are_not_cancelled(server: KubernetesServer) -> None:
    other = Job("other", ("train",), "/data/other", cluster())
    for each in (job(), other):
        launcher(server).start(each, 0, seconds=3600)
    launcher(server).cancel(job())
    assert list(server.jobs) == [other.attempt_name(0)]


@pytest.mark.parametrize(
    ("status", "kind", "told"),
    [
        (401, UserError, "log in again"),
        (403, UserError, "rbac.yaml"),
        (404, UserError, "Kubeflow Trainer v2 installed"),
        (422, UserError, "the server says"),
        (409, RunFailed, "the server says"),
        (429, RunFailed, "429"),
        (503, RunFailed, "503"),
    ],
)
def test_refusals_say_what_to_do_and_whether_to_retry(
    server: KubernetesServer, status: int, kind: type[Exception], told: str
) -> None:
    server.refusals = [(status, "the server says no")]
    with pytest.raises(kind, match=told):
        launcher(server).start(job(), 0, seconds=3600)


def test_a_server_that_is_away_is_a_failure_and_not_a_mistake(server: KubernetesServer) -> None:
    one = launcher(server)
    server.shutdown()
    server.server_close()
    with pytest.raises(RunFailed, match="no answer"):
        one.start(job(), 0, seconds=3600)


def phase(one: TrainJobLauncher) -> Phase:
    state = one.state(job(), 0)
    assert state is not None
    return state.phase
