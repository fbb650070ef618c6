"""Ask Slurm, by its commands: they exist on every login node, whatever is configured behind them."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from codetr.core.errors import RunFailed, UserError
from codetr.core.text import one_line

TIMEOUT = 60
"""Seconds for an answer; Slurm's own limit is shorter."""

_AWAY = ("Unable to contact", "Socket timed out", "Connection refused", "Zero Bytes were transmitted", "Resource temp")
"""What the commands print when the controller does not answer, or is overloaded."""


@dataclass(frozen=True)
class SlurmJob:
    """A job as Slurm lists it.

    Attributes:
        id: its number.
        state: one of Slurm's job states, e.g. "PENDING".
        reason: why it waits, or why it ended; "None" for no reason.
    """

    id: str
    state: str
    reason: str


def jobs_named(name: str) -> list[SlurmJob]:
    """Return this user's jobs of a name, also those that ended some minutes ago, the newest last.

    Raises:
        UserError: there is no Slurm on this machine.
        RunFailed: the controller does not answer.
    """
    columns = "%i|%T|%r"
    listed = _run(["squeue", "--me", "--noheader", "--states=all", f"--name={name}", f"--format={columns}"])
    found = [SlurmJob(*map(str.strip, line.split("|", 2))) for line in listed.splitlines() if line.count("|") >= 2]
    return sorted(found, key=lambda job: int(job.id))


def submit(options: Sequence[str], script: Path) -> None:
    """Submit a batch script.

    Args:
        options: of `sbatch`. On the command line, unlike in a script, they may hold any character.
        script: the file.

    Raises:
        UserError: Slurm refuses it, e.g. an unknown partition.
        RunFailed: the controller does not answer.
    """
    _run(["sbatch", "--parsable", *options, str(script)])


def cancel(jobs: Sequence[SlurmJob]) -> None:
    """Cancel jobs; those that have ended stay as they are.

    Raises:
        RunFailed: the controller does not answer.
    """
    if jobs:
        _run(["scancel", *(job.id for job in jobs)])


def _run(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=TIMEOUT, check=False)
    except FileNotFoundError:
        hint = "Run this on a login node of the cluster, or name another cluster."
        raise UserError(f"there is no program '{command[0]}'", where="Slurm", hint=hint) from None
    except subprocess.TimeoutExpired:
        raise RunFailed(f"{command[0]} did not answer within {TIMEOUT} s", where="Slurm") from None
    if done.returncode == 0:
        return done.stdout
    problem = one_line(done.stderr.removeprefix(f"{command[0]}: error: ")) or f"exit code {done.returncode}"
    kind = RunFailed if any(text in done.stderr for text in _AWAY) else UserError
    raise kind(f"{command[0]} failed: {problem}", where="Slurm")
