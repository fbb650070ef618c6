"""`--on CLUSTER`: run a command on a cluster, follow it there, and bring it to its end."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

from codetr.core.errors import RunFailed, UserError
from codetr.core.exit_codes import ExitCode
from codetr.launch.spec import LaunchSpec

if TYPE_CHECKING:
    from codetr.launch.job import Job
    from codetr.launch.launcher import Launcher

DELETE_TRIES = 20
"""How often a job is tried to be deleted, a second after another."""

ClusterOption = Annotated[
    str | None,
    typer.Option(
        "--on",
        metavar="CLUSTER|FILE.yaml",
        rich_help_panel="Cluster",
        help="Run on a cluster: the name of a file in pipelines/clusters/, or a YAML file. All paths are those of the "
        "cluster's volumes. The same command again finds a job that runs or has ended; Ctrl-C deletes it.",
    ),
]


class _Stopped(BaseException):
    """SIGTERM was received."""


def run_on_cluster(
    spec: LaunchSpec,
    arguments: Sequence[str],
    *,
    paths: Mapping[str, Path],
    read: Mapping[str, Path],
    inputs: Mapping[str, str],
) -> None:
    """Run `codetr <arguments> <paths>` on a cluster and return when it has succeeded.

    Ctrl-C ends the job, and so does the end of the pipeline's run that this process is a task of. SIGTERM leaves it to
    the next process that runs the same command, unless that run is being cancelled. A job that runs here saves a
    checkpoint in every case.

    The job belongs to the run that CODETR_RUN names, else to one with the name of its output.

    Args:
        spec: of the cluster.
        arguments: without `--on`, `--nproc` and the paths.
        paths: by option; `--output` is the folder that is written.
        read: further paths that the command reads, by the setting that names them.
        inputs: digests of what the command reads.

    Raises:
        UserError: wrong settings, here or in the job.
        RunFailed: the job failed, or the cluster is away.
        SystemExit: this process was stopped.
    """
    from codetr.launch.job import RUN_VARIABLE, Job
    from codetr.launch.open_launcher import open_launcher
    from codetr.launch.supervise import CancelledError, supervise

    if spec.launcher != "local":
        require_absolute({**paths, **read})
    words = [*arguments, *(word for option, path in paths.items() for word in (option, str(path)))]
    output = paths["--output"]
    run = os.environ.get(RUN_VARIABLE) or output.name
    job = Job(run, tuple(words), str(output), spec, tuple(sorted(inputs.items())))
    launcher = open_launcher(spec)
    # Pipelines run on Kubernetes. A job of this machine ends with this process, whatever the reason.
    cancelled = _cancellation() if spec.launcher == "trainjob" else None
    previous = signal.signal(signal.SIGTERM, _stop)
    try:
        supervise(launcher, job, show=_show, cancelled=cancelled)
    except (KeyboardInterrupt, _Stopped, CancelledError) as stopped:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        if spec.launcher == "local":
            launcher.cancel(job)
            for attempt in range(launcher.attempts(job)):
                for line in launcher.log(job, attempt):
                    _show(line)
            sys.exit(ExitCode.PREEMPTED)
        if isinstance(stopped, _Stopped) and not (cancelled and cancelled()):
            sys.exit(ExitCode.PREEMPTED)
        print(f"{job.name}: deleting it", file=sys.stderr, flush=True)
        _delete(launcher, job)
        sys.exit(ExitCode.INTERRUPTED)
    finally:
        signal.signal(signal.SIGTERM, previous)


def _delete(launcher: Launcher, job: Job) -> None:
    """Delete a job, also where the cluster does not answer at once: a pod that is stopped has some time left.

    Raises:
        RunFailed: it does not answer.
    """
    for left in reversed(range(DELETE_TRIES)):
        try:
            launcher.cancel(job)
            return
        except RunFailed:
            if not left:
                raise
            time.sleep(1)


def refuse_options_of_this_machine(processes: str | None, force: bool) -> None:
    """Refuse the options for processes of this machine beside `--on`.

    Raises:
        UserError: one is given.
    """
    if processes is not None or force:
        hint = "The file of the cluster has the number of processes."
        raise UserError("cannot be combined with --on", where="--force" if force else "--nproc", hint=hint)


def _cancellation() -> Callable[[], bool] | None:
    """Return what says whether the pipeline's run that this process is a task of is being cancelled."""
    # Needs urllib3, which is there where a cluster can be reached.
    from codetr.launch.pipeline_run import PipelineRun

    run = PipelineRun.of_environment()
    return None if run is None else run.is_cancelled


def require_absolute(paths: Mapping[str, Path]) -> None:
    """Require paths that mean the same on every machine.

    Args:
        paths: by the option or setting that has them.

    Raises:
        UserError: one is relative.
    """
    for name, path in paths.items():
        if not path.is_absolute():
            hint = f"Give the path of a volume of the cluster, such as /data/{path.name}."
            raise UserError(f"'{path}' is relative: the cluster does not know this folder", where=name, hint=hint)


def _stop(number: int, frame: FrameType | None) -> None:
    raise _Stopped


def _show(line: str) -> None:
    print(line, flush=True)
