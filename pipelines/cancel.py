"""End a run on a server."""

from __future__ import annotations

import time

from codetr.core.errors import RunFailed, UserError
from pipelines.kfp_server import PipelineApi, Run


def cancel(api: PipelineApi, run: Run, *, timeout: float, every: float = 2.0) -> Run:
    """End a run and wait until it has ended; one that has ended already stays as it is.

    The tasks that follow jobs on a cluster see that their run is ended and delete them.

    Args:
        api: the server.
        run: the run.
        timeout: seconds to wait.
        every: seconds between two looks.

    Returns:
        The run as it has ended.

    Raises:
        RunFailed: the server does not answer, or the run does not end in time.
    """
    if not run.ended:
        try:
            api.terminate(run.run_id)
        except UserError:
            # It may have ended between the two requests.
            if not api.run(run.run_id).ended:
                raise
    deadline = time.monotonic() + timeout
    while not (now := api.run(run.run_id)).ended:
        if time.monotonic() >= deadline:
            hint = "It was asked to; the same command waits for it again."
            raise RunFailed(f"run {run.run_id} has not ended after {timeout:.0f} s", where=api.endpoint, hint=hint)
        time.sleep(every)
    return now
