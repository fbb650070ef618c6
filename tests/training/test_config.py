"""Settings of training that are refused."""

from __future__ import annotations

import pytest

from codetr.core.errors import UserError
from codetr.training.config import TrainingConfig


@pytest.mark.parametrize(
    ("assignment", "path"),
    [
        ("epochs=0", "epochs"),
        ("optimizer.lr=-1", "optimizer.lr"),
        ("optimizer.lr=.nan", "optimizer.lr"),
        ("schedule.milestones=[11, 8]", "schedule.milestones"),
        ("precision=fp8", "precision"),
        ("checkpoint.keep=0", "checkpoint.keep"),
        ("accumulate=1.5", "accumulate"),
        ("clip_norm=0", "clip_norm"),
    ],
)
def test_a_setting_that_makes_no_sense_is_refused_by_its_path(assignment: str, path: str) -> None:
    with pytest.raises(UserError, match=path):
        TrainingConfig().override([assignment])


def test_patience_without_validation_is_refused() -> None:
    with pytest.raises(UserError, match="needs validation"):
        TrainingConfig().override(["patience=2", "validate_every=0"])
