"""Running a step as the command a person would type, from a program that has its settings at hand.

An engine's task calls this, so that it runs exactly what `codetr <step>` runs: the same checks, the same log,
and a mistake in the settings ends as one line that says what to do rather than as a traceback.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from codetr.core.files import write_json
from codetr.core.parent_watch import tied_children, watch_parent


def run_step(step: str, settings: Mapping[str, Any], **arguments: str | int) -> None:
    """Run `codetr STEP --params FILE --name value …` and wait for it; its output goes where this process's goes.

    SIGTERM is passed on to it, and it ends when this process does. Called from the main thread.

    Args:
        step: prepare, train, evaluate or register.
        settings: the step's section of params.yaml.
        arguments: the command's other options, by name.

    Raises:
        SystemExit: the step failed; with its exit code, after its own message.
    """
    # KFP starts this process, through a shell.
    watch_parent()
    with tempfile.TemporaryDirectory() as folder:
        # JSON is YAML.
        params = Path(folder) / "params.yaml"
        write_json(params, {step: dict(settings)})
        command = [sys.executable, "-m", "codetr", step, "--params", str(params)]
        for name, value in arguments.items():
            command += [f"--{name}", str(value)]
        with tied_children(), subprocess.Popen(command) as process:
            # An engine that stops its task tells this process only; training has something to save.
            handler = signal.signal(signal.SIGTERM, lambda *_: process.terminate())
            try:
                code = process.wait()
            finally:
                signal.signal(signal.SIGTERM, handler)
    if code != 0:
        raise SystemExit(code)
