"""From params.yaml to the arguments of a pipeline: the same file that `dvc repro` reads."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from codetr.core.settings import parse_assignment
from codetr.evaluation.config import EvaluateConfig
from codetr.steps.register import RegisterConfig
from codetr.steps.settings import chosen_recipe, section

STEPS = ("prepare", "train", "evaluate", "register")
_WITH_DEFAULTS = ("evaluate", "register")
"""Steps of which every setting has a default."""


def step_settings(params: Path, recipe: str | None = None, overrides: Sequence[str] = ()) -> dict[str, dict[str, Any]]:
    """The sections of a params.yaml as the pipeline's arguments, checked before anything runs.

    A mistake in the settings of a later step would otherwise show when hours of training are over. Those of
    `prepare` need no check here: it runs first, and says so itself.

    Args:
        params: a YAML file with a section for each step.
        recipe: replaces `train.recipe`.
        overrides: `path.in.the.recipe=value`; added to `train.set`, over what is there.

    Returns:
        `{"prepare_settings": {...}, "train_settings": {...}, ...}`

    Raises:
        UserError: no such file, a missing or unusable section of prepare or train, a value that its step does not
            take, or an override without `=`.
    """
    arguments = {f"{step}_settings": section(params, step, optional=step in _WITH_DEFAULTS) for step in STEPS}
    train = arguments["train_settings"]
    if recipe is not None:
        train["recipe"] = recipe
    if overrides:
        train["set"] = {
            **(train.get("set") or {}),
            **dict(parse_assignment(text) for text in overrides),
        }
    chosen_recipe(recipe, params, overrides)
    EvaluateConfig.parse(arguments["evaluate_settings"], where=f"{params}: evaluate")
    RegisterConfig.parse(arguments["register_settings"], where=f"{params}: register")
    return arguments
