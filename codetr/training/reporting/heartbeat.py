"""Say what a run is doing while nothing else is printed: a step of a large detector takes minutes on a CPU."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from codetr.core.durations import format_duration


class Heartbeat:
    """Prints a line from a thread when there was none for a while. A context manager.

    Args:
        say: prints a line.
        every: seconds without a line.
        clock: returns the time in seconds.
    """

    def __init__(
        self, say: Callable[[str], None], *, every: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._say, self._every, self._clock = say, every, clock
        self._ended = threading.Event()
        self._activity: tuple[str, float] | None = None
        self._heard = clock()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()

    def begin(self, activity: str) -> None:
        """Note what begins now, e.g. "step 3"."""
        self._activity = activity, self._clock()

    def heard(self) -> None:
        """Note that a line was printed."""
        self._heard = self._clock()

    def _beat(self) -> None:
        while not self._ended.wait(min(self._every / 4, 1.0)):
            now = self._clock()
            if self._activity is not None and now - self._heard >= self._every:
                activity, since = self._activity
                self.heard()
                self._say(f"train  {activity}: {format_duration(now - since)} so far")
