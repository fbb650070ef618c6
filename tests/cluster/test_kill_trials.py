"""Launcher, controller and connection are killed at random moments, on a real Kubernetes API server.

One job at a time, no attempt skipped or run twice, and nothing left over. CODETR_TRIALS is the number of trials.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from codetr.launch.kubernetes_api import KubernetesApi
from codetr.launch.sweep import sweep
from tests.support.cluster.api_server import NAMESPACE, api_server, missing_programs
from tests.support.cluster.kill_trials import Connection, connection, control, launch, trial_job
from tests.support.forked import ForkedProcess

pytestmark = pytest.mark.skipif(bool(missing_programs()), reason=f"not there: {', '.join(missing_programs())}")

TRIALS = int(os.environ.get("CODETR_TRIALS", "50"))
KILLS = 6
"""Of each trial."""
PATIENCE = 90.0


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KubernetesApi]:
    with api_server(tmp_path_factory.mktemp("api-server")) as api:
        yield api


@pytest.fixture(scope="module")
def way(server: KubernetesApi) -> Iterator[Connection]:
    with connection(server) as running:
        yield running


class Trial:
    """The actors of a trial."""

    def __init__(self, number: int, api: KubernetesApi, way: Connection, log: Path, exits: ExitStack) -> None:
        self.random = random.Random(number)
        self.job = trial_job(number, self.random.randrange(3))
        self.failures = int(self.job.run.rpartition("-")[2])
        self.api, self.way, self.log, self.exits = api, way, log, exits
        settings = api.client.configuration
        self.certificate = (settings.cert_file, settings.key_file, settings.ssl_ca_cert)
        self.controller, self.launcher = self.start_controller(), self.start_launcher(number)
        self.number = number

    def start_controller(self) -> ForkedProcess:
        return self.start(control, self.api.address, NAMESPACE, self.certificate)

    def start_launcher(self, number: int) -> ForkedProcess:
        return self.start(launch, self.way.address, NAMESPACE, number, self.failures)

    def start(self, work: Any, *arguments: object) -> ForkedProcess:
        process = ForkedProcess(work, *arguments, log=self.log, environment={})
        self.exits.callback(process.wait)
        self.exits.callback(process.kill)
        return process

    def kill_one(self) -> None:
        """Kill an actor, and start it again after a while."""
        match self.random.choice(("launcher", "controller", "connection")):
            case "launcher":
                self.launcher.kill()
                self.launcher.wait(PATIENCE)
                self.watch(self.random.uniform(0, 0.2))
                self.launcher = self.start_launcher(self.number)
            case "controller":
                self.controller.kill()
                self.controller.wait(PATIENCE)
                self.watch(self.random.uniform(0, 0.2))
                self.controller = self.start_controller()
            case _:
                self.way.cut = True
                self.watch(self.random.uniform(0.02, 0.2))
                self.way.cut = False

    def watch(self, seconds: float) -> None:
        """Require for a while that at most one job runs."""
        deadline = time.monotonic() + seconds
        while True:
            running = [one["metadata"]["name"] for one in self.api.jobs() if not ended(one)]
            assert len(running) <= 1, running
            if time.monotonic() >= deadline:
                return
            time.sleep(0.01)


def ended(job: dict[str, Any]) -> str:
    """Return the condition with which a job has ended, or nothing."""
    conditions = (job.get("status") or {}).get("conditions") or []
    return next((str(one["type"]) for one in conditions), "")


@pytest.mark.parametrize("number", range(TRIALS))
def test_one_job_and_nothing_is_left_over(number: int, server: KubernetesApi, way: Connection, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with ExitStack() as exits:
        trial = Trial(number, server, way, log, exits)
        for _ in range(KILLS):
            trial.watch(trial.random.uniform(0, 0.3))
            trial.kill_one()
        abandoned = number % 4 == 0
        if abandoned:
            trial.launcher.kill()
            trial.launcher.wait(PATIENCE)
            trial.controller.kill()
            trial.controller.wait(PATIENCE)
            sweep(server, unwatched=timedelta(seconds=-60))
        else:
            assert trial.launcher.wait(PATIENCE) == 0, log.read_text()
    found = {one["metadata"]["name"]: ended(one) for one in server.jobs()}
    assert all(found.values()), "a job runs that nothing watches"
    if not abandoned:
        names = [trial.job.attempt_name(attempt) for attempt in range(trial.failures + 1)]
        assert found == dict.fromkeys(names[:-1], "Failed") | {names[-1]: "Complete"}, log.read_text()
    for one in server.jobs():
        server.delete_job(one)
