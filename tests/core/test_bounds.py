"""Settings that no machine can fulfil are refused when they are read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from codetr.core.errors import UserError
from codetr.core.settings import Settings
from codetr.data.ingest.config import PrepareConfig
from codetr.evaluation.config import EvaluateConfig
from codetr.inference.config import TilesConfig
from codetr.steps.register import RegisterConfig
from codetr.training.config import CheckpointConfig, TrainingConfig
from codetr.zoo.recipe import Recipe

pytestmark = pytest.mark.fast


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        (TrainingConfig, "threads"),
        (EvaluateConfig, "threads"),
        (EvaluateConfig, "workers"),
        (EvaluateConfig, "batch_size"),
        (EvaluateConfig, "pictures"),
        (TrainingConfig, "epochs"),
        (TrainingConfig, "accumulate"),
        (CheckpointConfig, "keep"),
        (TilesConfig, "batch_size"),
    ],
)
def test_huge_numbers_are_refused(settings: type[Settings], name: str) -> None:
    """PyTorch raises a ValueError that names no setting, or the machine starts processes until it stops."""
    with pytest.raises(UserError, match=rf"{name}: Input should be less than or equal to"):
        settings.parse({name: 1 << 40}, where="params.yaml")


def numbers_without_bound(schema: dict[str, Any]) -> Iterator[str]:
    """Yield the numbers of settings, by class and name, that have no upper bound in their JSON schema."""

    def walk(part: Any, name: str) -> Iterator[str]:
        if isinstance(part, dict):
            if part.get("type") in ("integer", "number") and not {"maximum", "exclusiveMaximum", "enum"} & part.keys():
                yield name
            for key, value in part.items():
                yield from walk(value, f"{name}.{key}")
        elif isinstance(part, list):
            for value in part:
                yield from walk(value, name)

    return walk(schema, "")


@pytest.mark.parametrize("settings", [Recipe, PrepareConfig, EvaluateConfig, RegisterConfig])
def test_every_number_has_an_upper_bound(settings: type[Settings]) -> None:
    """A typing error asked for all memory or all time, before or after hours of other work."""
    # Each of these has a validator that compares it with other settings.
    checked = ("global_blocks", "out_strides", "range_16bit")
    found = numbers_without_bound(settings.model_json_schema())
    assert [name for name in found if not any(known in name for known in checked)] == []
