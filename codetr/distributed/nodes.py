"""The machines of a run, as the platform that started them describes them in environment variables.

Kubeflow Trainer sets the variables `PET_*`, which are the ones that torchrun reads; under Slurm, the batch script sets
them. So the same command runs on one machine and on each of many.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from codetr.core.errors import UserError

JOIN_TIMEOUT = 900
"""Seconds that a node waits for the others: their images may have to be pulled first."""

_COUNT, _RANK, _ADDRESS, _PORT = "PET_NNODES", "PET_NODE_RANK", "PET_MASTER_ADDR", "PET_MASTER_PORT"
_MAX_PORT = 65535


@dataclass(frozen=True)
class Nodes:
    """The machines of a run, and which of them this is.

    Attributes:
        count: how many.
        rank: of this machine, 0..count-1.
        address: of the machine with rank 0, on which all meet.
        port: at that address.
        timeout: seconds that a node waits for the others.
    """

    count: int = 1
    rank: int = 0
    address: str = "localhost"
    port: int = 0
    timeout: int = JOIN_TIMEOUT

    @classmethod
    def of_environment(cls, environment: Mapping[str, str] = os.environ) -> Nodes:
        """Read the variables `PET_NNODES`, `PET_NODE_RANK`, `PET_MASTER_ADDR` and `PET_MASTER_PORT`.

        Raises:
            UserError: one of them is missing although there are several nodes, or has an impossible value.
        """
        count = _number(environment, _COUNT, 1, low=1)
        if count == 1:
            return ONE_NODE
        if not environment.get(_ADDRESS):
            raise UserError("is not set", where=f"environment variable {_ADDRESS}", hint=_SETS)
        return cls(
            count=count,
            rank=_number(environment, _RANK, None, low=0, high=count - 1),
            address=environment[_ADDRESS],
            port=_number(environment, _PORT, None, low=1, high=_MAX_PORT),
        )


ONE_NODE = Nodes()

_SETS = "Kubeflow Trainer and the batch script of `--on` set it for a job of several nodes."


def _number(
    environment: Mapping[str, str], name: str, default: int | None, *, low: int, high: int | None = None
) -> int:
    text = environment.get(name, "" if default is None else str(default))
    if not text:
        raise UserError("is not set", where=f"environment variable {name}", hint=_SETS)
    if not text.isascii() or not text.isdecimal() or int(text) < low or (high is not None and int(text) > high):
        expected = f"a whole number of at least {low}" if high is None else f"a whole number from {low} to {high}"
        raise UserError(f"is '{text}', expected {expected}", where=f"environment variable {name}")
    return int(text)
