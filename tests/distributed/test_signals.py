import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from codetr.distributed.signals import StoppedWaitingError, stop_on_signal
from tests.support.paths import ROOT

CHILD = """
import sys, time
from codetr.core.system.parent_watch import watch_parent
from codetr.distributed.signals import stop_on_signal
watch_parent()
with stop_on_signal() as stop:
    print("ready", stop.received, flush=True)
    end = time.monotonic() + 60
    while not stop.received and time.monotonic() < end:
        time.sleep(0.01)
    print("stop", stop.received, flush=True)
"""
BUSY = """
import hashlib
from codetr.distributed.signals import stop_on_signal
with stop_on_signal() as stop:
    stop.saves = True
    print("ready", flush=True)
    hashlib.pbkdf2_hmac("sha256", b"", b"", 10**9)  # Native code of minutes, as a backward pass
"""
LAUNCHER = """
import subprocess, sys
subprocess.run([sys.executable, "-c", sys.argv[1]])
"""


def test_sigterm_is_a_request_inside_the_block_only() -> None:
    """A handler that stayed would make every later SIGTERM without effect."""
    before = signal.getsignal(signal.SIGTERM)
    with stop_on_signal() as stop:
        assert not stop.received
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.received
    assert signal.getsignal(signal.SIGTERM) is before


def test_the_first_ctrl_c_is_a_request_and_the_second_interrupts() -> None:
    """Ctrl-C would lose the steps since the last checkpoint, or a step that hangs could not be left."""
    before = signal.getsignal(signal.SIGINT)
    with stop_on_signal() as stop:
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.received
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def test_the_end_of_torchrun_is_a_request() -> None:
    """Orphans would go on training, and keep the checkpoints from the run that is started again; or lose the steps
    since the last checkpoint."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TORCHELASTIC_RUN_ID": "test"}
    command = [sys.executable, "-c", LAUNCHER, CHILD]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as launcher:
        assert launcher.stdout is not None
        assert launcher.stdout.readline().split() == ["ready", "False"]
        launcher.kill()
        assert launcher.stdout.readline().split() == ["stop", "True"]


def test_training_off_the_main_thread_leaves_signals_alone() -> None:
    """Python refuses handlers there, which must not prevent training in a thread."""
    seen = []

    def work() -> None:
        with stop_on_signal() as stop:
            seen.append(stop.received)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [False]


@pytest.mark.parametrize("before", [False, True], ids=["while waiting", "before the wait"])
def test_a_request_ends_a_wait_for_what_never_comes(before: bool) -> None:
    """A server that does not answer would keep the process until somebody kills it."""
    with stop_on_signal() as stop:
        if before:
            os.kill(os.getpid(), signal.SIGTERM)
        started = time.monotonic()
        with pytest.raises(StoppedWaitingError), stop.interrupts():
            os.kill(os.getpid(), signal.SIGTERM)
        assert time.monotonic() - started < 10
        os.kill(os.getpid(), signal.SIGTERM)  # Only the block is ended.
        assert stop.received


def test_a_request_leaves_a_wait_its_time() -> None:
    """One of several processes that has its images in a moment takes the step, after which all save."""
    with stop_on_signal() as stop:
        with stop.interrupts(after=20.0):
            os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(StoppedWaitingError), stop.interrupts(after=0.2):
            threading.Event().wait(20)


def test_ctrl_c_in_native_code_is_answered_at_once_and_obeyed_the_second_time() -> None:
    """A step of minutes on a CPU looks like a program that hangs."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", BUSY]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env=environment, text=True, stdout=pipe, stderr=pipe) as process:
        try:
            assert process.stdout is not None
            assert process.stderr is not None
            process.stdout.readline()
            time.sleep(0.2)
            process.send_signal(signal.SIGINT)
            assert "stopping: saving a checkpoint after the current step; Ctrl-C again" in process.stderr.readline()
            process.send_signal(signal.SIGINT)
            assert "stopping at once" in process.stderr.readline()
            assert process.wait(20) == 130
        finally:
            process.kill()
