"""Running a command on several processes of this machine, with torchrun's own launcher.

`--nproc N` saves writing `torchrun --standalone --nproc-per-node N -m codetr …`, and keeps the exit codes that
torchrun turns into 1. On several machines torchrun itself is the way.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from codetr.core.errors import UserError

ProcessesOption = Annotated[
    str | None,
    typer.Option(
        "--nproc",
        metavar="N",
        help="Processes on this machine: a number, or 'gpus' for one per GPU. On several machines, start with "
        "torchrun instead: [cyan]torchrun --nnodes 2 --nproc-per-node 8 … -m codetr …[/]",
    ),
]


def is_worker() -> bool:
    """Whether torchrun started this process."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def count(wanted: str) -> int:
    """Number of processes for an `--nproc` value.

    Raises:
        UserError: neither a positive number nor 'gpus', or 'gpus' where there are none.
    """
    if wanted == "gpus":
        import torch

        if not torch.cuda.is_available():
            raise UserError(
                "'gpus' asks for one process per GPU, but PyTorch sees none here",
                where="--nproc",
                hint="Leave it out to compute on the CPU, or give a number of processes.",
            )
        return torch.cuda.device_count()
    if not wanted.isdecimal() or int(wanted) < 1:
        raise UserError(f"'{wanted}' is neither a positive number nor 'gpus'", where="--nproc")
    return int(wanted)


def spread(wanted: str | None, arguments: Sequence[str]) -> None:
    """Run `codetr <arguments>` on `wanted` processes and exit as they do; return to run in this process alone.

    Returns when nothing is to be launched: no `--nproc`, one process, or this is one of the processes already.
    """
    if wanted is None or is_worker():
        return
    processes = count(wanted)
    if processes == 1:
        return
    from codetr.distributed.torchrun import launch

    sys.exit(launch(arguments, processes))
