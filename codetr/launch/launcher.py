"""What every launcher does: start an attempt or find it again, report its state, and end it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from codetr.launch.job import Job
from codetr.launch.state import AttemptState


class Launcher(Protocol):
    """Runs attempts of jobs. Every method may be called again after a crash of its caller, with the same effect."""

    def attempts(self, job: Job) -> int:
        """Return how many attempts have been started; their numbers are 0, 1, ….

        Raises:
            UserError: something else has the name of the job.
            RunFailed: the cluster does not answer.
        """

    def start(self, job: Job, attempt: int, *, seconds: int) -> None:
        """Start an attempt; one that exists already is found again.

        Args:
            job: what to run.
            attempt: its number.
            seconds: that it may take, until the cluster ends it.

        Raises:
            UserError: the cluster refuses it, or something else has its name.
            RunFailed: the cluster does not answer.
        """

    def state(self, job: Job, attempt: int) -> AttemptState | None:
        """Return the state of an attempt, None if somebody has deleted it.

        Raises:
            RunFailed: the cluster does not answer.
        """

    def log(self, job: Job, attempt: int) -> Iterator[str]:
        """Yield the lines that its processes have printed since the last call, each with its process where needed.

        Lines that cannot be read are left out: the end of an attempt does not depend on them.
        """

    def heartbeat(self, job: Job, attempt: int) -> None:
        """Show that the attempt is being watched.

        Raises:
            RunFailed: the cluster does not answer.
        """

    def cancel(self, job: Job) -> None:
        """End all attempts, and remove what they leave on the cluster.

        Raises:
            RunFailed: the cluster does not answer.
        """
