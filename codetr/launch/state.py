"""What a cluster reports of an attempt to run a job."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum


class Phase(StrEnum):
    """How far an attempt is."""

    QUEUED = "queued"
    """Created; it waits for a quota, for machines or for its image."""
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


@dataclass(frozen=True)
class ProcessEnd:
    """The end of one of its processes (a container, a task).

    Attributes:
        name: of the pod or the task.
        exit_code: None where it never ran.
        reason: in the cluster's words, e.g. `OOMKilled` or `Evicted`.
        log: its last lines.
    """

    name: str
    exit_code: int | None = None
    reason: str = ""
    log: tuple[str, ...] = ()


@dataclass(frozen=True)
class Progress:
    """What training reports of itself.

    Attributes:
        percent: of all steps.
        remaining: seconds.
        metrics: of the last validation, as text, by name.
    """

    percent: int | None = None
    remaining: int | None = None
    metrics: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        left = "" if self.remaining is None else f"{timedelta(seconds=self.remaining)} left"
        percent = "" if self.percent is None else f"{self.percent} %"
        return ", ".join(filter(None, [percent, left, *(f"{name} {value}" for name, value in self.metrics)]))

    @property
    def milestone(self) -> tuple[object, ...]:
        """What changes seldom enough to be shown every time: not the seconds that are left."""
        return self.percent, self.metrics


@dataclass(frozen=True)
class AttemptState:
    """The state of an attempt.

    Attributes:
        phase: how far it is.
        reason: why, in the cluster's words; "" if it does not say.
        age: seconds from its creation to its end, or to now.
        progress: None where the cluster does not report it.
        ends: of processes that failed, the first one first.
        stuck: it has failed, but the cluster has not ended it: it waits for what will not come.
    """

    phase: Phase
    reason: str = ""
    age: float = 0.0
    progress: Progress | None = None
    ends: tuple[ProcessEnd, ...] = ()
    stuck: bool = False

    @property
    def over(self) -> bool:
        """Whether it has ended."""
        return self.phase in (Phase.SUCCEEDED, Phase.FAILED)
