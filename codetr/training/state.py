"""Where a training run is, and how it ended."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from codetr.data.loading.unreadable import BadImages


@dataclass
class Position:
    """Where a run is: batches taken of `epoch` (from 0), and optimiser steps in all."""

    epoch: int = 0
    batch: int = 0
    step: int = 0


@dataclass(frozen=True)
class Outcome:
    """What a finished run left.

    Attributes:
        state: the weights to publish, by name; on rank 0 alone if they are sharded.
        steps: optimiser steps done.
        published_step: the step `state` is from.
        validation: the last validation's figures; empty without validation.
        best: {"step", "epoch", "AP"} of the best validation, or None.
        bad_images: those that were skipped over the whole run, by all processes; None if none were and none may be.
    """

    state: dict[str, Tensor]
    steps: int
    published_step: int
    validation: dict[str, float | int | None]
    best: dict[str, float] | None
    bad_images: BadImages | None = None
