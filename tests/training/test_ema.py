"""The exponential moving average of weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from codetr.training.config import EmaConfig
from codetr.training.ema import Ema, averaged_weights, ema_momentum


def test_the_momentum_is_the_official_one(golden: Path) -> None:
    expected = np.load(golden / "pieces" / "exp_momentum_ema.npz")
    config = EmaConfig(momentum=1e-4, warmup_iterations=2000)
    for iteration, momentum in zip(expected["iters"].tolist(), expected["momentum"].tolist(), strict=True):
        assert ema_momentum(config, iteration) == pytest.approx(momentum, rel=1e-12)


def test_parameters_and_buffers_are_averaged_and_counters_are_not() -> None:
    """A buffer left out would pair averaged weights with statistics of others."""
    module = nn.BatchNorm1d(2)
    ema = Ema(module, EmaConfig(momentum=0.25, warmup_iterations=1))
    assert module.running_mean is not None
    assert module.num_batches_tracked is not None
    with torch.no_grad():
        module.weight.fill_(3.0)
        module.running_mean.fill_(2.0)
        module.num_batches_tracked.fill_(7)
    ema.update(module, iteration=1000)
    assert ema.average["weight"].tolist() == [1.5, 1.5]
    assert ema.average["running_mean"].tolist() == [0.5, 0.5]
    assert ema.average["num_batches_tracked"].item() == 7


def test_weights_that_never_change_do_not_drift() -> None:
    """Thousands of roundings of a frozen backbone would move it away from its pretrained weights."""
    module = nn.Linear(64, 64)
    ema = Ema(module, EmaConfig(momentum=1e-3, warmup_iterations=10))
    for iteration in range(200):
        ema.update(module, iteration)
    assert torch.equal(ema.average["weight"], module.weight)


def test_the_weights_of_the_detector_come_back_after_validation() -> None:
    """Otherwise training would continue from the average."""
    module = nn.Linear(3, 3)
    ema = Ema(module, EmaConfig())
    before = module.weight.detach().clone() + 1
    with torch.no_grad():
        module.weight.add_(1)
    with averaged_weights(module, ema):
        assert not torch.equal(module.weight, before)
    assert torch.equal(module.weight, before)
