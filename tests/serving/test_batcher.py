"""Batches are formed of images of one size, bounded, in order, and nothing is lost."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codetr.serving.batcher import Batcher, ClosedError, Pixels, QueueFullError


class Model:
    """Returns the first pixel of each image; it can be held, and remembers its batches."""

    def __init__(self) -> None:
        self.batches: list[list[tuple[int, ...]]] = []
        self.started, self.free = threading.Semaphore(0), threading.Event()
        self.free.set()
        self.error: Exception | None = None

    def __call__(self, images: Sequence[Pixels]) -> list[Any]:
        self.started.release()
        self.free.wait()
        self.batches.append([image.shape for image in images])
        if self.error is not None:
            raise self.error
        return [int(image.flat[0]) for image in images]


@contextmanager
def batcher(model: Model, **settings: Any) -> Iterator[Batcher]:
    made = Batcher(model, **settings)
    try:
        yield made
    finally:
        model.free.set()
        made.close()


def image(value: int, height: int = 2) -> Pixels:
    return np.full((height, 2, 3), value, np.uint8)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.lists(st.sampled_from([2, 3, 4]), min_size=1, max_size=4), min_size=1, max_size=6))
def test_every_image_gets_its_result(requests: list[list[int]]) -> None:
    model = Model()
    with batcher(model, max_batch=3, max_delay=0, max_waiting=100) as made:
        number = iter(range(100))
        sent = [[(value, image(value, height)) for height in one if (value := next(number)) >= 0] for one in requests]
        futures = [(made.submit([pixels for _, pixels in one]), [value for value, _ in one]) for one in sent]
        assert all([one.result(10) for one in found] == values for found, values in futures)
    assert all(len(batch) <= 3 and len(set(batch)) == 1 for batch in model.batches)


def test_images_of_one_size_share_a_batch_and_others_do_not() -> None:
    """A padded image gets other scores, so an answer would depend on what else is asked."""
    model = Model()
    model.free.clear()
    with batcher(model, max_delay=0) as made:
        first = made.submit([image(0)])
        model.started.acquire()
        later = made.submit([image(1), image(2, height=3), image(3)]) + made.submit([image(4)])
        model.free.set()
        assert [one.result(10) for one in first + later] == [0, 1, 2, 3, 4]
    assert model.batches == [[(2, 2, 3)], [(2, 2, 3)] * 3, [(3, 2, 3)]]


def test_an_image_waits_for_others_only_so_long() -> None:
    model = Model()
    with batcher(model, max_batch=2, max_delay=0.2) as made:
        start = time.monotonic()
        both = made.submit([image(1)]) + made.submit([image(2)])
        assert [one.result(10) for one in both] == [1, 2]
        assert time.monotonic() - start < 0.15
        assert made.submit([image(3)])[0].result(10) == 3
        assert time.monotonic() - start > 0.2
    assert list(map(len, model.batches)) == [2, 1]


def test_a_full_queue_takes_all_images_of_a_request_or_none() -> None:
    model = Model()
    model.free.clear()
    with batcher(model, max_delay=0, max_waiting=2) as made:
        running = made.submit([image(0)])
        model.started.acquire()
        waiting = made.submit([image(1)])
        with pytest.raises(QueueFullError):
            made.submit([image(2), image(3)])
        waiting += made.submit([image(4)])
        model.free.set()
        assert [one.result(10) for one in running + waiting] == [0, 1, 4]


def test_a_failing_batch_fails_its_requests_only() -> None:
    model = Model()
    with batcher(model, max_delay=0) as made:
        model.error = RuntimeError("CUDA error")
        with pytest.raises(RuntimeError, match="CUDA error"):
            made.submit([image(1)])[0].result(10)
        model.error = None
        assert made.submit([image(2)])[0].result(10) == 2


def test_a_request_that_was_given_up_is_not_run() -> None:
    model = Model()
    model.free.clear()
    with batcher(model, max_delay=0) as made:
        running = made.submit([image(0)])
        model.started.acquire()
        [given_up] = made.submit([image(1, height=5)])
        kept = made.submit([image(2)])
        assert given_up.cancel()
        model.free.set()
        assert [one.result(10) for one in running + kept] == [0, 2]
    assert [(5, 2, 3)] not in model.batches


def test_closing_answers_what_waits_and_takes_no_more() -> None:
    model = Model()
    made = Batcher(model, max_delay=60)
    [waiting] = made.submit([image(7)])
    made.close()
    assert waiting.result(0) == 7
    with pytest.raises(ClosedError):
        made.submit([image(8)])
