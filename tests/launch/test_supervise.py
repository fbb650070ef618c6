"""A job is brought to its end: started again where that helps, within its budget, and never twice at a time."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from codetr.core.errors import RunFailed, UserError
from codetr.launch.job import Job
from codetr.launch.local_launcher import LocalLauncher
from codetr.launch.spec import LaunchSpec
from codetr.launch.supervise import CancelledError, Pace, supervise
from codetr.launch.trainjob import HEARTBEAT
from codetr.launch.trainjob_launcher import TrainJobLauncher
from tests.support.launch.kubernetes_server import KubernetesServer, ended, kubernetes_server
from tests.support.launch.specs import cluster, job

# Ends with the n-th of the given codes when it is started the n-th time.
SCRIPT = """
import sys
from pathlib import Path
log, codes = Path(sys.argv[1]), sys.argv[2].split(",")
done = len(log.read_text().splitlines()) if log.exists() else 0
with log.open("a") as file:
    file.write("started\\n")
print("epoch", done)
code = int(codes[min(done, len(codes) - 1)])
if code:
    print("Error: as the test asked")
sys.exit(code)
"""


def run_local(folder: Path, codes: str, **budget: Any) -> tuple[int, list[str], list[float]]:
    """Run a job whose attempts end with these codes; returns the attempts, what was shown, and the waits."""
    spec = LaunchSpec.parse({"launcher": "local", "budget": budget})
    local = Job("test", (str(folder / "starts"), codes), str(folder), spec)
    shown: list[str] = []
    waits: list[float] = []
    pace = Pace(poll=0.01, sleep=lambda seconds: _sleep(seconds, waits))
    done = supervise(LocalLauncher((sys.executable, "-c", SCRIPT)), local, show=shown.append, pace=pace)
    return done, shown, waits


def _sleep(seconds: float, waits: list[float]) -> None:
    if seconds > 1:
        waits.append(seconds)
    else:
        time.sleep(seconds)


def test_success_shows_the_log(tmp_path: Path) -> None:
    attempts, shown, _ = run_local(tmp_path, "0")
    assert attempts == 1
    assert "epoch 0" in shown


def test_a_preempted_job_resumes_and_it_does_not_count(tmp_path: Path) -> None:
    """One that is preempted as soon as it starts, e.g. by a taint, waits longer each time."""
    attempts, _, waits = run_local(tmp_path, "75,75,75,0", restarts=0)
    assert attempts == 4
    assert waits == sorted(waits) == [30, 60, 120]


def test_a_failed_job_is_retried_with_growing_waits(tmp_path: Path) -> None:
    attempts, _, waits = run_local(tmp_path, "1,70,0", restarts=2)
    assert attempts == 3
    assert waits == sorted(waits)
    assert len(waits) == 2


def test_the_budget_ends_it(tmp_path: Path) -> None:
    with pytest.raises(RunFailed, match="started again 1 time"):
        run_local(tmp_path, "1", restarts=1)
    assert len((tmp_path / "starts").read_text().splitlines()) == 2


def test_the_hours_are_those_of_all_attempts_together(tmp_path: Path) -> None:
    with pytest.raises(RunFailed, match="out of time: all attempts together took"):
        run_local(tmp_path, "75", hours=1e-4)


def test_a_mistake_ends_it_at_once(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="as the test asked"):
        run_local(tmp_path, "2")
    assert len((tmp_path / "starts").read_text().splitlines()) == 1


@pytest.fixture
def server() -> Iterator[KubernetesServer]:
    with kubernetes_server() as running:
        yield running


class Cluster:
    """Plays the Trainer's controller: with every wait of the launcher, each attempt is a step further."""

    def __init__(self, server: KubernetesServer, codes: list[int]) -> None:
        self.server, self.codes = server, codes
        self.time = 0.0
        self.steps = 0

    def sleep(self, seconds: float) -> None:
        self.time += seconds
        for name, one in list(self.server.jobs.items()):
            attempt = int(name.rpartition("-")[2])
            pods = [pod for pod in self.server.pods if pod.startswith(f"{name}-node")]
            if one.get("status"):
                continue
            if not pods:
                self.server.set_pod(name, 0, "Running")
            elif self.steps > 0:
                self.steps -= 1
            elif self.codes[attempt] == 0:
                self.server.set_condition(name, "Complete")
            else:
                self.server.set_pod(name, 0, "Failed", **ended(self.codes[attempt]))
                self.server.set_condition(name, "Failed", "FailedJobs")

    def pace(self) -> Pace:
        return Pace(sleep=self.sleep, clock=lambda: self.time)


def test_a_launcher_goes_on_where_an_earlier_one_was_killed() -> None:
    """Killed before each of its requests in turn: one attempt at a time, none skipped, none twice."""
    codes = [75, 1, 0]
    for after in range(100):
        with kubernetes_server() as server:
            fake = Cluster(server, codes)
            launcher = TrainJobLauncher(server.api(), environment={})
            try:
                supervise(Killed(launcher, after), job(), show=lambda _: None, pace=fake.pace())
                break
            except KeyboardInterrupt:
                assert len([name for name, one in server.jobs.items() if not one.get("status")]) <= 1
            assert supervise(launcher, job(), show=lambda _: None, pace=fake.pace()) == len(codes)
            assert sorted(server.jobs) == [job().attempt_name(attempt) for attempt in range(len(codes))]
    assert after > 10


class Killed:
    """A launcher whose process ends after so many requests."""

    def __init__(self, launcher: TrainJobLauncher, after: int) -> None:
        self._launcher, self._left = launcher, after

    def __getattr__(self, name: str) -> Any:
        if self._left == 0:
            raise KeyboardInterrupt
        self._left = max(self._left - 1, 0)
        return getattr(self._launcher, name)


def test_retries_of_an_earlier_launcher_count(server: KubernetesServer) -> None:
    """Else a pipeline that retries its task would multiply the budget."""
    small = job(cluster(budget={"restarts": 1}))
    fake = Cluster(server, [1, 1, 1, 1])
    for _ in range(2):
        with pytest.raises(RunFailed, match="started again 1 time"):
            supervise(TrainJobLauncher(server.api(), environment={}), small, show=lambda _: None, pace=fake.pace())
    # The second call starts one attempt, as it was asked to, and none by itself.
    assert len(server.jobs) == 3


def test_a_job_that_gave_up_is_started_again_by_the_same_command(server: KubernetesServer) -> None:
    """Its cause was removed: a full disk, a missing image, too few hours."""
    fake = Cluster(server, [2, 0])
    launcher = TrainJobLauncher(server.api(), environment={})
    with pytest.raises(UserError, match="The same command starts it again"):
        supervise(launcher, job(), show=lambda _: None, pace=fake.pace())
    assert supervise(launcher, job(), show=lambda _: None, pace=fake.pace()) == 2


def test_an_attempt_that_never_starts_is_deleted(server: KubernetesServer) -> None:
    """Kubernetes would try to pull a missing image for ever."""
    launcher, name = TrainJobLauncher(server.api(), environment={}), job().attempt_name(0)
    launcher.start(job(), 0, seconds=3600)
    waiting = {"waiting": {"reason": "ImagePullBackOff", "message": "not found"}}
    server.set_pod(name, 0, "Pending", containerStatuses=[{"name": "node", "state": waiting}])
    server.pods[f"{name}-node-0-0"]["metadata"]["creationTimestamp"] = "2026-01-01T00:00:00Z"
    with pytest.raises(UserError, match="the image cannot be started: not found"):
        supervise(launcher, job(), show=lambda _: None, pace=Pace(sleep=lambda _: None))
    assert server.jobs == {}


def test_a_long_attempt_is_shown_to_be_watched(server: KubernetesServer) -> None:
    """Else the sweeper deletes it."""
    fake = Cluster(server, [0])
    fake.steps = 30
    before = "2020-01-01T00:00:00Z"
    launcher = TrainJobLauncher(server.api(), environment={})
    launcher.start(job(), 0, seconds=3600)
    [one] = server.jobs.values()
    one["metadata"]["annotations"][HEARTBEAT] = before
    supervise(Adopted(launcher), job(), show=lambda _: None, pace=fake.pace())
    assert one["metadata"]["annotations"][HEARTBEAT] > before


class Adopted:
    """A launcher that has started the attempt already, so that only watching writes the time."""

    def __init__(self, launcher: TrainJobLauncher) -> None:
        self._launcher = launcher

    def start(self, job: Job, attempt: int, *, seconds: int) -> None:
        """Do nothing."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._launcher, name)


def test_a_cluster_that_is_away_for_a_while_is_waited_for(server: KubernetesServer) -> None:
    fake = Cluster(server, [0])
    server.refusals = [(503, "restarting")] * 5
    launcher = TrainJobLauncher(server.api(), environment={})
    assert supervise(launcher, job(), show=lambda _: None, pace=fake.pace()) == 1


def test_a_cluster_that_stays_away_ends_it(server: KubernetesServer) -> None:
    fake = Cluster(server, [0])
    server.refusals = [(503, "restarting")] * 10_000
    with pytest.raises(RunFailed, match="503"):
        supervise(TrainJobLauncher(server.api(), environment={}), job(), show=lambda _: None, pace=fake.pace())


def test_a_job_that_somebody_deleted_is_not_started_again(server: KubernetesServer) -> None:
    """Deleting it is how a person stops it."""
    fake = Cluster(server, [0])

    def delete(seconds: float) -> None:
        fake.sleep(seconds)
        server.jobs.clear()

    with pytest.raises(UserError, match="deleted while it ran"):
        supervise(
            TrainJobLauncher(server.api(), environment={}),
            job(),
            show=lambda _: None,
            pace=Pace(sleep=delete, clock=lambda: fake.time),
        )
    assert server.jobs == {}


def test_waiting_for_machines_has_an_end_and_leaves_nothing_behind(server: KubernetesServer) -> None:
    impatient = job(cluster(budget={"queue_hours": 1}))
    time = 0.0

    def sleep(seconds: float) -> None:
        nonlocal time
        time += seconds

    launcher = TrainJobLauncher(server.api(), environment={})
    with pytest.raises(RunFailed, match="waited more than 1 h"):
        supervise(launcher, impatient, show=lambda _: None, pace=Pace(poll=60, sleep=sleep, clock=lambda: time))
    assert server.jobs == {}
    assert time > 3600


def test_a_job_that_ran_for_a_day_may_wait_again(server: KubernetesServer) -> None:
    """All its pods are started again after one was lost: it has not waited since its creation."""
    impatient = job(cluster(budget={"queue_hours": 1}))
    launcher, name = TrainJobLauncher(server.api(), environment={}), impatient.attempt_name(0)
    launcher.start(impatient, 0, seconds=3600)
    server.jobs[name]["metadata"]["creationTimestamp"] = f"{datetime.now(UTC) - timedelta(days=1):%Y-%m-%dT%H:%M:%SZ}"
    steps = iter([None, lambda: server.set_condition(name, "Complete")])
    pace = Pace(sleep=lambda _: (next(steps) or (lambda: None))())
    assert supervise(launcher, impatient, show=lambda _: None, pace=pace) == 1


@pytest.mark.parametrize("codes", [[0], [1, 1, 1, 0]])
def test_a_cancelled_run_ends_within_a_minute(server: KubernetesServer, codes: list[int]) -> None:
    """While its job runs, and while it waits for the next attempt."""
    fake = Cluster(server, codes)
    fake.steps = 1000 if codes == [0] else 0
    cancelled_at = 50.0
    with pytest.raises(CancelledError):
        supervise(
            TrainJobLauncher(server.api(), environment={}),
            job(),
            show=lambda _: None,
            pace=fake.pace(),
            cancelled=lambda: fake.time >= cancelled_at,
        )
    assert fake.time < cancelled_at + 60
