import os
import signal
import subprocess
import sys
import threading

import pytest

from codetr.distributed.signals import stop_on_signal
from tests.support.paths import ROOT

CHILD = """
import sys, time
from codetr.core.parent_watch import watch_parent
from codetr.distributed.signals import stop_on_signal
watch_parent()
with stop_on_signal() as stop:
    print("ready", stop.received, flush=True)
    end = time.monotonic() + 60
    while not stop.received and time.monotonic() < end:
        time.sleep(0.01)
    print("stop", stop.received, flush=True)
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
