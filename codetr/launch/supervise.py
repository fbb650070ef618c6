"""Bring a job to its end: start or adopt it, follow it, start it again where that helps, within its budget.

The state is on the cluster alone: the number of attempts, and how each ended. So this can be killed at any moment and
called again, also on another machine, and goes on where the job is.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from codetr.core.errors import RunFailed, UserError
from codetr.launch.endings import Cause, Ending, Reaction, classify
from codetr.launch.job import Job
from codetr.launch.launcher import Launcher
from codetr.launch.state import AttemptState, Phase

T = TypeVar("T")

logger = logging.getLogger(__name__)

HEARTBEAT = 60.0
"""Seconds between two heartbeats."""
BACKOFF = (30.0, 60.0, 120.0, 300.0)
"""Seconds to wait before the first, second, … retry; the last one from then on."""
ABSENCE = 1800.0
"""Seconds for which the cluster may not answer."""

_MISTAKES = frozenset({Cause.USER_ERROR, Cause.DATA, Cause.NOT_FINITE, Cause.IMAGE, Cause.QUOTA})


@dataclass(frozen=True)
class Pace:
    """How often to look, and how long to wait; seconds.

    Attributes:
        poll: between two looks at the state.
        backoff: before each retry.
        absence: for which the cluster may not answer.
        sleep: waits.
        clock: a time that never goes back.
    """

    poll: float = 5.0
    backoff: tuple[float, ...] = BACKOFF
    absence: float = ABSENCE
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic


def supervise(launcher: Launcher, job: Job, *, show: Callable[[str], None], pace: Pace | None = None) -> int:
    """Run a job to its successful end.

    Args:
        launcher: runs it.
        job: what to run.
        show: shows a line of the log or of the progress.
        pace: None for the usual one.

    Returns:
        The number of attempts.

    Raises:
        UserError: the job ended with a mistake that the same input makes again.
        RunFailed: it failed otherwise and its budget is used up, or the cluster is away.
    """
    pace = pace or Pace()
    watch = _Watch(launcher, job, show, pace)
    attempt = max(watch.patiently(lambda: launcher.attempts(job)) - 1, 0)
    retries = sum(
        watch.ending(earlier).reaction is Reaction.RETRY for earlier in range(attempt) if watch.has_failed(earlier)
    )
    while True:
        watch.patiently(lambda number=attempt: launcher.start(job, number))  # type: ignore[misc]
        state = watch.until_over(attempt)
        if state.phase is Phase.SUCCEEDED:
            show(f"{job.attempt_name(attempt)}: succeeded")
            return attempt + 1
        ending = classify(state)
        where = ending.process.name if ending.process else job.attempt_name(attempt)
        if ending.reaction is Reaction.GIVE_UP:
            raise _failure(ending, where)
        show(f"{where}: {ending.cause} ({ending.message}); {ending.reaction}")
        if ending.reaction is Reaction.RETRY:
            retries += 1
            if retries > job.spec.budget.restarts:
                hint = "Raise budget.restarts of the cluster's file, or look for the cause in the logs above."
                problem = f"{ending.cause}: {ending.message}; it was started again {job.spec.budget.restarts} times"
                raise RunFailed(problem, where=where, hint=hint)
            pace.sleep(pace.backoff[min(retries, len(pace.backoff)) - 1])
        attempt += 1


class _Watch:
    """Follows attempts, and bears with a cluster that does not answer for a while."""

    def __init__(self, launcher: Launcher, job: Job, show: Callable[[str], None], pace: Pace) -> None:
        self._launcher, self._job, self._show, self._pace = launcher, job, show, pace

    def until_over(self, attempt: int) -> AttemptState:
        """Show what an attempt prints and how it gets on, until it has ended.

        Raises:
            RunFailed: somebody deleted it, it waited too long for machines, or the cluster is away.
        """
        job, budget = self._job, self._job.spec.budget
        shown: tuple[Phase, str] | None = None
        beat = self._pace.clock()
        while True:
            state = self.patiently(lambda: self._launcher.state(job, attempt))
            if state is None:
                hint = "Run the same command to start it again from its newest checkpoint."
                raise RunFailed("it was deleted while it ran", where=job.attempt_name(attempt), hint=hint)
            for line in self._launcher.log(job, attempt):
                self._show(line)
            if (state.phase, state.reason) != shown and not state.over:
                shown = (state.phase, state.reason)
                self._show(f"{job.attempt_name(attempt)}: {state.phase}{f' ({state.reason})' if state.reason else ''}")
            if state.over:
                return state
            if state.phase is Phase.QUEUED and state.seconds > budget.queue_hours * 3600:
                self.patiently(lambda: self._launcher.cancel(job))
                problem = f"it waited more than {budget.queue_hours:g} hours ({state.reason or 'no reason given'})"
                hint = "Raise budget.queue_hours, or ask for fewer nodes."
                raise RunFailed(problem, where=job.attempt_name(attempt), hint=hint)
            if self._pace.clock() - beat >= HEARTBEAT:
                self.patiently(lambda: self._launcher.heartbeat(job, attempt))
                beat = self._pace.clock()
            self._pace.sleep(self._pace.poll)

    def has_failed(self, attempt: int) -> bool:
        """Return whether an earlier attempt is still known to have failed."""
        state = self.patiently(lambda: self._launcher.state(self._job, attempt))
        return state is not None and state.phase is Phase.FAILED

    def ending(self, attempt: int) -> Ending:
        """Return how an earlier attempt failed."""
        state = self.patiently(lambda: self._launcher.state(self._job, attempt))
        return classify(state or AttemptState(Phase.FAILED))

    def patiently(self, request: Callable[[], T]) -> T:
        """Return the answer to a request, and ask again while the cluster is away."""
        deadline = self._pace.clock() + self._pace.absence
        while True:
            try:
                return request()
            except RunFailed as error:
                if self._pace.clock() >= deadline:
                    raise
                logger.warning("%s; asking again", error)
                self._pace.sleep(self._pace.poll)


def _failure(ending: Ending, where: str) -> UserError | RunFailed:
    kind = UserError if ending.cause in _MISTAKES else RunFailed
    return kind(f"{ending.cause}: {ending.message}", where=where)
