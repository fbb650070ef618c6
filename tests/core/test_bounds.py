"""Settings that no machine can fulfil are refused when they are read."""

from __future__ import annotations

import pytest

from codetr.core.errors import UserError
from codetr.core.settings import Settings
from codetr.evaluation.config import EvaluateConfig
from codetr.training.config import TrainingConfig

pytestmark = pytest.mark.fast


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        (TrainingConfig, "threads"),
        (EvaluateConfig, "threads"),
        (EvaluateConfig, "workers"),
        (EvaluateConfig, "batch_size"),
        (EvaluateConfig, "pictures"),
    ],
)
def test_huge_numbers_are_refused(settings: type[Settings], name: str) -> None:
    """PyTorch raises a ValueError that names no setting, or the machine starts processes until it stops."""
    with pytest.raises(UserError, match=rf"{name}: Input should be less than or equal to"):
        settings.parse({name: 1 << 40}, where="params.yaml")
