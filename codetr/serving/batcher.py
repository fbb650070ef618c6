"""Form batches of images of different requests, and run a model on them in one thread.

Only images of one size share a batch. Others would be padded to a common size, which changes scores slightly: the
answer to a request would depend on what else was asked at that moment.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from codetr.inference.result import Result

Pixels = NDArray[np.uint8]


class Observer(Protocol):
    """What notes batches, such as metrics."""

    def __call__(self, size: int, waiting: int, /) -> None:
        """Note that a batch of `size` images starts while `waiting` others wait."""


class QueueFullError(Exception):
    """More images wait than the server takes."""


class ClosedError(Exception):
    """The server is being stopped."""


@dataclass
class _Waiting:
    pixels: Pixels
    since: float
    result: Future[Result] = field(default_factory=Future)


class Batcher:
    """A queue of images, and the thread that runs the model.

    Args:
        detect: the model, on images (height, width, 3) uint8 RGB of one size.
        max_batch: images that are run together.
        max_delay: seconds that an image waits for others of its size.
        max_waiting: images that may wait.
        observe: called before each batch.
    """

    def __init__(
        self,
        detect: Callable[[Sequence[Pixels]], list[Result]],
        *,
        max_batch: int = 8,
        max_delay: float = 0.005,
        max_waiting: int = 32,
        observe: Observer = lambda size, waiting: None,
    ) -> None:
        self._detect, self._observe = detect, observe
        self._max_batch, self._max_delay, self._max_waiting = max_batch, max_delay, max_waiting
        self._queue: deque[_Waiting] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="codetr-serve-model", daemon=True)
        self._thread.start()

    def submit(self, images: Sequence[Pixels]) -> list[Future[Result]]:
        """Queue the images of a request: all of them, or none.

        Raises:
            QueueFullError: too many images wait.
            ClosedError: `close` was called.
        """
        now = time.monotonic()
        with self._changed:
            if self._closed:
                raise ClosedError
            if len(self._queue) + len(images) > self._max_waiting:
                raise QueueFullError
            added = [_Waiting(pixels, now) for pixels in images]
            self._queue.extend(added)
            self._changed.notify()
        return [one.result for one in added]

    def close(self) -> None:
        """Run what was queued, and end the thread."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        while batch := self._next_batch():
            try:
                results = self._detect([one.pixels for one in batch])
            except Exception as error:
                for one in batch:
                    one.result.set_exception(error)
            else:
                for one, result in zip(batch, results, strict=True):
                    one.result.set_result(result)

    def _next_batch(self) -> list[_Waiting]:
        """Return the images to run next: the one that waits longest, and others of its size; none after `close`."""
        with self._changed:
            while True:
                self._drop_cancelled()
                if not self._queue:
                    if self._closed:
                        return []
                    self._changed.wait()
                    continue
                first = self._queue[0]
                alike = [one for one in self._queue if one.pixels.shape == first.pixels.shape][: self._max_batch]
                left = first.since + self._max_delay - time.monotonic()
                if len(alike) == self._max_batch or left <= 0 or self._closed:
                    break
                self._changed.wait(left)
            batch = [one for one in alike if one.result.set_running_or_notify_cancel()]
            taken = set(map(id, alike))
            self._queue = deque(one for one in self._queue if id(one) not in taken)
            self._observe(len(batch), len(self._queue))
            return batch or self._next_batch()

    def _drop_cancelled(self) -> None:
        """Forget images of requests that were given up."""
        if any(one.result.cancelled() for one in self._queue):
            self._queue = deque(one for one in self._queue if not one.result.cancelled())
