"""`--nproc N`: run a command on several processes of this machine, with torchrun's launcher.

It is short for `torchrun --standalone --nproc-per-node N -m codetr …`, and keeps the exit codes that torchrun turns
into 1. On several machines, the variables that `codetr.distributed.nodes` reads say which of them this is.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from codetr.core.errors import UserError
from codetr.distributed.capacity import Capacity
from codetr.distributed.devices import Devices
from codetr.distributed.nodes import Nodes

ProcessesOption = Annotated[
    str | None,
    typer.Option(
        "--nproc",
        metavar="N",
        help="Number of processes on this machine, or 'gpus' for one per GPU. More than the CPU cores or the memory "
        "can hold are refused. On several machines, set the variables PET_NNODES, PET_NODE_RANK, PET_MASTER_ADDR and "
        "PET_MASTER_PORT on each, or start with torchrun instead: "
        "[cyan]torchrun --nnodes 2 --nproc-per-node 8 … -m codetr …[/]; "
        "on a cluster, [cyan]codetr train --on[/] does so.",
    ),
]
ForceOption = Annotated[
    bool,
    typer.Option(
        "--force",
        help="Start --nproc processes even if this machine has fewer CPU cores or too little memory for them: they "
        "share the cores, and the system may kill one.",
    ),
]


def is_worker() -> bool:
    """Return whether torchrun started this process."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def process_count(value: str, gpus: int) -> int:
    """Return the number of processes for an `--nproc` value.

    Args:
        value: a number or 'gpus'.
        gpus: number of GPUs to compute on.

    Raises:
        UserError: neither a positive number nor 'gpus', or 'gpus' where there are none.
    """
    if value == "gpus":
        if gpus == 0:
            raise UserError(
                "'gpus' asks for one process per GPU, but PyTorch sees none here, or --device is another",
                where="--nproc",
                hint="Leave it out to compute on the CPU, or give a number of processes.",
            )
        return gpus
    if not value.isdecimal() or int(value) < 1:
        raise UserError(f"'{value}' is neither a positive number nor 'gpus'", where="--nproc")
    return int(value)


def run_on_processes(
    value: str | None, arguments: Sequence[str], *, device: str = "auto", force: bool = False, resumes: bool = False
) -> None:
    """Run `codetr <arguments>` on several processes and exit as they do, or return to run it in this process alone.

    Returns if there is nothing to launch: one process on one machine, or this is one of the processes already.

    Args:
        value: of `--nproc`.
        arguments: the command line, without the name of the program.
        device: value of `--device`.
        force: launch more processes than this machine can hold.
        resumes: whether the command saves its state after Ctrl-C.

    Raises:
        UserError: not a number of processes, more than this machine can hold, or no devices for them.
    """
    if is_worker():
        return
    nodes = Nodes.of_environment()
    if nodes.count == 1 and value in (None, "1"):
        return
    devices = Devices.of_machine()
    gpus = devices.gpus if device in ("auto", "cuda") else 0
    processes = process_count(value or "1", gpus)
    if nodes.count == processes == 1:
        return
    devices.select(device, processes=processes * nodes.count)
    Capacity.of_machine(gpus=gpus).require(processes, force=force)
    from codetr.distributed.torchrun import launch

    sys.exit(launch(arguments, processes, nodes=nodes, resumes=resumes))
