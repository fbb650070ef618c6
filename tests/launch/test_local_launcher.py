"""Jobs as processes of this machine."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from codetr.core.exit_codes import ExitCode
from codetr.launch.job import Job
from codetr.launch.local_launcher import LocalLauncher
from codetr.launch.spec import LaunchSpec
from codetr.launch.state import AttemptState, Phase

SAVES = """
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(75))
print("ready", flush=True)
time.sleep(60)
"""


def job(*arguments: str, **environment: str) -> Job:
    return Job("test", arguments, "model", LaunchSpec.parse({"launcher": "local", "environment": environment}))


def ended(launcher: LocalLauncher, one: Job) -> AttemptState:
    while True:
        state = launcher.state(one, 0)
        assert state is not None
        if state.over:
            return state
        time.sleep(0.01)


def test_cancel_lets_the_command_save_and_waits_for_it() -> None:
    launcher, one = LocalLauncher((sys.executable, "-c", SAVES)), job()
    launcher.start(one, 0, seconds=3600)
    while "ready" not in list(launcher.log(one, 0)):
        time.sleep(0.01)
    launcher.heartbeat(one, 0)
    launcher.cancel(one)
    state = launcher.state(one, 0)
    assert state is not None
    assert state.ends[0].exit_code == ExitCode.PREEMPTED
    launcher.cancel(one)


def test_a_second_start_of_an_attempt_finds_it(tmp_path: Path) -> None:
    launcher, one = LocalLauncher(("/bin/sh", "-c", f"echo started >> {tmp_path}/log")), job()
    for _ in range(2):
        launcher.start(one, 0, seconds=3600)
    assert ended(launcher, one).phase is Phase.SUCCEEDED
    assert (tmp_path / "log").read_text() == "started\n"
    assert launcher.attempts(one) == 1
    assert launcher.state(one, 1) is None


def test_the_environment_of_the_spec_and_the_last_lines() -> None:
    launcher, one = LocalLauncher(("/bin/sh", "-c", 'echo "value $VALUE"; kill -9 $$')), job(VALUE="seven")
    launcher.start(one, 0, seconds=3600)
    state = ended(launcher, one)
    assert (state.ends[0].exit_code, state.ends[0].log) == (137, ("value seven",))
