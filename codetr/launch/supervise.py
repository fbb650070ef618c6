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
from codetr.core.text import counted
from codetr.launch.endings import Cause, Ending, Reaction, classify
from codetr.launch.job import Job
from codetr.launch.launcher import Launcher
from codetr.launch.state import AttemptState, Phase

T = TypeVar("T")

logger = logging.getLogger(__name__)

FIRST_POLL = 0.5
"""Seconds until the second look at an attempt; then twice as long each time. What fails at once is known at once."""
HEARTBEAT = 60.0
"""Seconds between two heartbeats."""
BACKOFF = (30.0, 60.0, 120.0, 300.0)
"""Seconds to wait before the first, second, … retry; the last one from then on."""
ABSENCE = 1800.0
"""Seconds for which the cluster may not answer."""
CANCEL_POLL = 15.0
"""Seconds between two looks at whether the job is still asked for."""
SHORT = 300.0
"""Seconds. An attempt that was preempted sooner has hardly got on: the next one waits, as after a failure."""

_MISTAKES = frozenset({Cause.USER_ERROR, Cause.NOT_FINITE, Cause.IMAGE})


class CancelledError(Exception):
    """What started the job is being cancelled."""


@dataclass(frozen=True)
class Pace:
    """How often to look, and how long to wait; seconds.

    Attributes:
        poll: between two looks at the state, after the first ones.
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


def supervise(
    launcher: Launcher,
    job: Job,
    *,
    show: Callable[[str], None],
    pace: Pace | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> int:
    """Run a job to its successful end.

    A job that runs is adopted, and one that has succeeded is reported. If its last attempt had failed before, this
    starts the next one: whoever calls it again has removed the cause.

    Args:
        launcher: runs it.
        job: what to run.
        show: shows a line of the log or of the progress.
        pace: None for the usual one.
        cancelled: returns whether what started the job is being cancelled; None where nothing says so.

    Returns:
        The number of attempts.

    Raises:
        UserError: the job ended with a mistake that the same input makes again, or somebody deleted it.
        RunFailed: it failed otherwise and may not be started again, or the cluster is away.
        CancelledError: `cancelled` says so; the job is left to the caller.
    """
    return _Supervisor(launcher, job, show, pace or Pace(), cancelled).run()


class _Supervisor:
    """Follows attempts, and bears with a cluster that does not answer for a while."""

    def __init__(
        self,
        launcher: Launcher,
        job: Job,
        show: Callable[[str], None],
        pace: Pace,
        cancelled: Callable[[], bool] | None,
    ) -> None:
        self._launcher, self._job, self._show, self._pace, self._cancelled = launcher, job, show, pace, cancelled
        self._asked = pace.clock()
        self._retries = self._quick = 0
        self._spent = 0.0

    def run(self) -> int:
        """See `supervise`."""
        attempt, done = self._resumed()
        while not done:
            state = self._follow(attempt)
            done = state.phase is Phase.SUCCEEDED
            if state.stuck:
                self._patiently(lambda: self._launcher.cancel(self._job))
            if not done:
                self._decide(classify(state), state, attempt)
                attempt += 1
        self._show(f"{self._name(attempt)}: succeeded")
        return attempt + 1

    def _resumed(self) -> tuple[int, bool]:
        """Return the attempt to start or adopt, after those that have failed, and whether it has succeeded."""
        count = self._patiently(lambda: self._launcher.attempts(self._job))
        for attempt in range(count):
            state = self._patiently(lambda number=attempt: self._launcher.state(self._job, number))  # type: ignore[misc]
            if state is not None and state.phase is Phase.SUCCEEDED:
                self._show(f"`codetr jobs cancel {self._name(attempt)}` and the same command would run it again")
                return attempt, True
            if state is not None and (state.stuck or not state.over):
                return attempt, False
            if state is not None:
                self._count(classify(state), state)
        return count, False

    def _decide(self, ending: Ending, state: AttemptState, attempt: int) -> None:
        """Return when the next attempt may start.

        Raises:
            UserError, RunFailed: it may not.
        """
        where = ending.process.name if ending.process else self._name(attempt)
        if ending.reaction is Reaction.GIVE_UP:
            hint = "The same command starts it again, from its newest checkpoint, when the cause is removed."
            kind = UserError if ending.cause in _MISTAKES else RunFailed
            raise kind(f"{ending.cause}: {ending.message}", where=where, hint=hint)
        self._show(f"{where}: {ending.cause} ({ending.message}); {ending.reaction}")
        self._count(ending, state)
        restarts = self._job.spec.budget.restarts
        if self._retries > restarts:
            hint = "Raise budget.restarts of the cluster's file, or look for the cause in the logs above."
            raise RunFailed(
                f"{ending.cause}: {ending.message}; it was started again {counted(restarts, 'time')}",
                where=where,
                hint=hint,
            )
        waits = self._retries if ending.reaction is Reaction.RETRY else self._quick
        if waits:
            self._wait(self._pace.backoff[min(waits, len(self._pace.backoff)) - 1])

    def _count(self, ending: Ending, state: AttemptState) -> None:
        """Take an attempt that has failed from the budget."""
        self._spent += state.age
        self._retries += ending.reaction is not Reaction.RESUME
        self._quick = self._quick + 1 if state.age < SHORT else 0

    def _follow(self, attempt: int) -> AttemptState:
        """Start or adopt an attempt, and show what it prints and how it gets on, until it has ended.

        Raises:
            UserError: somebody deleted it.
            RunFailed: the budget is used up, it waited too long for machines, or the cluster is away.
        """
        job, name = self._job, self._name(attempt)
        left = job.spec.budget.hours * 3600 - self._spent
        if left < 1:
            raise self._out_of_hours(name)
        self._patiently(lambda: self._launcher.start(job, attempt, seconds=int(left)))
        shown: tuple[Phase, object] | None = None
        beat = since = self._pace.clock()
        pause = min(FIRST_POLL, self._pace.poll)
        while True:
            state = self._patiently(lambda: self._launcher.state(job, attempt))
            if state is None:
                hint = "Run the same command to start it again from its newest checkpoint."
                raise UserError("it was deleted while it ran", where=name, hint=hint)
            for line in self._launcher.log(job, attempt):
                self._show(line)
            if state.over:
                return state
            about = state.reason or (str(state.progress) if state.progress else "")
            news = (state.phase, state.reason or (state.progress and state.progress.milestone))
            if news != shown:
                if shown is None or shown[0] is not state.phase:
                    since = self._pace.clock()
                shown = news
                self._show(f"{name}: {state.phase}{f' ({about})' if about else ''}")
            self._require_budget(state, name, self._pace.clock() - since)
            if self._pace.clock() - beat >= HEARTBEAT:
                self._patiently(lambda: self._launcher.heartbeat(job, attempt))
                beat = self._pace.clock()
            if self._pace.clock() - self._asked >= CANCEL_POLL:
                self._require_wanted()
            self._pace.sleep(pause)
            pause = min(2 * pause, self._pace.poll)

    def _wait(self, seconds: float) -> None:
        """Wait before the next attempt, unless it is not asked for any more."""
        part = seconds if self._cancelled is None else CANCEL_POLL
        while seconds > 0:
            self._pace.sleep(min(part, seconds))
            seconds -= part
            self._require_wanted()

    def _require_wanted(self) -> None:
        self._asked = self._pace.clock()
        if self._cancelled is not None and self._cancelled():
            raise CancelledError

    def _require_budget(self, state: AttemptState, name: str, in_phase: float) -> None:
        """Cancel a job that waits or runs too long, and raise `RunFailed`."""
        budget = self._job.spec.budget
        if self._spent + state.age > budget.hours * 3600:
            self._patiently(lambda: self._launcher.cancel(self._job))
            raise self._out_of_hours(name)
        if state.phase is Phase.QUEUED and in_phase > budget.queue_hours * 3600:
            self._patiently(lambda: self._launcher.cancel(self._job))
            problem = f"it waited more than {budget.queue_hours:g} h for machines ({state.reason or 'no reason given'})"
            raise RunFailed(problem, where=name, hint="Raise budget.queue_hours, or ask for fewer nodes.")

    def _out_of_hours(self, name: str) -> RunFailed:
        problem = f"{Cause.DEADLINE}: all attempts together took {self._job.spec.budget.hours:g} h"
        return RunFailed(problem, where=name, hint="Raise budget.hours; the next attempt resumes.")

    def _name(self, attempt: int) -> str:
        return self._job.attempt_name(attempt)

    def _patiently(self, request: Callable[[], T]) -> T:
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
