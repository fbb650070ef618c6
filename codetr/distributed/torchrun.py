"""Start a command on several processes of this machine, alone or as one node of several, with torchrun's launcher."""

from __future__ import annotations

import logging
import os
import signal
import sys
import uuid
from collections.abc import Sequence
from typing import Any

from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from codetr.core.exit_codes import ExitCode
from codetr.core.system.parent_watch import GRACE, tied_children
from codetr.distributed.nodes import ONE_NODE, Nodes


def launch(arguments: Sequence[str], processes: int, *, nodes: Nodes = ONE_NODE, resumes: bool = False) -> int:
    """Run `python -m codetr <arguments>` on `processes` processes and wait for them.

    SIGTERM to this process is passed on to all of them; they save and end, and so does this one. If this process is
    killed, they do the same (`codetr.core.system.parent_watch`).

    Args:
        arguments: the command line, without the name of the program.
        processes: how many on this machine; usually one per GPU.
        nodes: this machine and the others of the run, on each of which this function is called.
        resumes: whether the command saves its state after Ctrl-C, as it does after SIGTERM.

    Returns:
        The exit code: that of the first process that failed (128 + n if signal n ended it), `ExitCode.PREEMPTED` after
        SIGTERM, and after Ctrl-C if the command `resumes`, `ExitCode.INTERRUPTED` after any other Ctrl-C, or 0.
    """
    # The launcher would print many lines about every process around the message of the one that failed.
    for name in ("torch.distributed.elastic", elastic_launch.__module__):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    # PyTorch before 2.12 does not read this variable: there it is always 30 seconds.
    os.environ.setdefault("TORCH_ELASTIC_SHUTDOWN_TIMEOUT", str(GRACE))
    # torchrun would set it and print a warning; every process sets its number of threads from the recipe.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    config = LaunchConfig(
        min_nodes=nodes.count,
        max_nodes=nodes.count,
        nproc_per_node=processes,
        # Whoever started the nodes restarts all of them together: a process that ends here ends its node.
        max_restarts=0,
        **_rendezvous(nodes),
        monitor_interval=0.1,
        # Otherwise it makes a temporary folder for logs, which are not written, and leaves it.
        logs_specs=DefaultLogsSpecs(log_dir=os.devnull),
    )
    try:
        with tied_children():
            elastic_launch(config, sys.executable)("-u", "-m", "codetr", *arguments)
    except SignalException as stopped:
        # The launcher does not say how the processes ended.
        saved = stopped.sigval == signal.SIGTERM or (resumes and stopped.sigval == signal.SIGINT)
        return ExitCode.PREEMPTED if saved else 128 + stopped.sigval
    except ChildFailedError as failed:
        _, failure = failed.get_first_failure()
        return failure.exitcode if failure.exitcode > 0 else 128 - failure.exitcode
    return 0


def _rendezvous(nodes: Nodes) -> dict[str, Any]:
    """Return where the launchers of all nodes meet."""
    if nodes.count == 1:
        return {
            "run_id": str(uuid.uuid4()),
            "rdzv_backend": "c10d",
            "rdzv_endpoint": "localhost:0",
            "local_addr": "localhost",
        }
    return {
        "run_id": "codetr",
        "rdzv_backend": "static",
        "rdzv_endpoint": f"{nodes.address}:{nodes.port}",
        "rdzv_configs": {"rank": nodes.rank, "timeout": nodes.timeout},
    }
