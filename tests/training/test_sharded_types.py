"""Training does not load FSDP2 only to see that nothing is sharded. `test_sharding` covers weights that are."""

from __future__ import annotations

import subprocess
import sys

import pytest
from torch import nn

from codetr.training.sharded_types import is_sharded_module, is_sharded_tensor

SCRIPT = """
import sys
import codetr.steps.train
print(*{"torch.distributed.fsdp", "torch.distributed.tensor", "sympy"} & sys.modules.keys())
"""


@pytest.mark.process
def test_training_imports_nothing_that_only_sharded_runs_need() -> None:
    """It takes half as long to import as PyTorch, in every process of every run."""
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_ordinary_weights_are_not_sharded() -> None:
    layer = nn.Linear(2, 2)
    assert not is_sharded_module(layer)
    assert not is_sharded_tensor(layer.weight)
