"""Run a step as the command `codetr STEP`, from a program that has the settings as values.

The task of a pipeline calls this, so it runs exactly what a person runs: the same checks, the same log, the same exit
codes, and an error is one line that says what to do instead of a traceback.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from codetr.core.failure_file import write_failure
from codetr.core.files import write_json
from codetr.core.system.parent_watch import tied_children, watch_parent
from codetr.launch.job import RUN_VARIABLE


def run_step(
    step: str,
    settings: Mapping[str, Any],
    *,
    run: str = "",
    store: str = "",
    cluster: Mapping[str, Any] | None = None,
    **arguments: str | int,
) -> None:
    """Run `codetr STEP --params FILE --name value …` and wait for it; it inherits stdout and stderr.

    SIGTERM is passed on to it, and it ends when this process does. Called from the main thread.

    Args:
        step: prepare, train, evaluate or register.
        settings: the step's section of params.yaml.
        run: name of the pipeline's run, for the environment variable CODETR_RUN; one that is set already stays.
        store: address of the store of results; empty for that of the environment, if any.
        cluster: a `LaunchSpec` as a mapping: run there, with the processes that it names instead of `nproc`. Empty or
            None to run here.
        arguments: the command's other options, by name.

    Raises:
        SystemExit: the step failed, and has printed why; with its exit code, or 128 + n if signal n ended it.
    """
    # KFP starts this process, through a shell.
    watch_parent()
    with tempfile.TemporaryDirectory() as folder:
        # JSON is YAML.
        params = Path(folder) / "params.yaml"
        write_json(params, {step: dict(settings)})
        command = [sys.executable, "-m", "codetr", step, "--params", str(params)]
        if cluster:
            arguments = {name: value for name, value in arguments.items() if name != "nproc"}
            command += ["--on", json.dumps(dict(cluster), sort_keys=True)]
        if store:
            command += ["--store", store]
        for name, value in arguments.items():
            command += [f"--{name}", str(value)]
        environment = {RUN_VARIABLE: run, **os.environ} if run else None
        with tied_children(), subprocess.Popen(command, env=environment) as process:
            # An engine that stops a task sends SIGTERM to this process only; training has a state to save.
            handler = signal.signal(signal.SIGTERM, lambda *_: process.terminate())
            try:
                code = process.wait()
            finally:
                signal.signal(signal.SIGTERM, handler)
    if code != 0:
        # As shells do: an exit status has no room for the negative number of a signal.
        code = code if code > 0 else 128 - code
        write_failure(code, f"codetr {step} ended with exit code {code}")
        raise SystemExit(code)
