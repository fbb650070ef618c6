"""Read the arguments of a pipeline from params.yaml, the file that `dvc repro` reads too."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from codetr.core.errors import UserError
from codetr.core.settings import parse_assignment
from codetr.evaluation.config import EvaluateConfig
from codetr.steps.register import RegisterConfig
from codetr.steps.settings import TrainSection, chosen_recipe, section, step_settings
from codetr.storage.folder import FolderStorage
from codetr.storage.open_storage import open_storage

STEPS = ("prepare", "train", "evaluate", "register")
_WITH_DEFAULTS = ("evaluate", "register")
"""Steps of which every setting has a default."""


def step_arguments(
    params: Path, recipe: str | None = None, overrides: Sequence[str] | None = None
) -> dict[str, dict[str, Any]]:
    """Return the sections of a params.yaml as the pipeline's arguments, checked before anything runs.

    A mistake in the settings of a later step would otherwise show after hours of training. Those of `prepare` need no
    check here: it runs first.

    Args:
        params: a YAML file with a section for each step.
        recipe: replaces `train.recipe`.
        overrides: `path.in.the.recipe=value`; they override `train.set`.

    Returns:
        `{"prepare_settings": {...}, "train_settings": {...}, ...}`

    Raises:
        UserError: no such file, a missing or unusable section of prepare or train, a value that its step does not
            take, or an override without `=`.
    """
    arguments = {f"{step}_settings": section(params, step, optional=step in _WITH_DEFAULTS) for step in STEPS}
    chosen_recipe(recipe, params, overrides)
    train = step_settings(TrainSection, "train", params, None, {"recipe": recipe})
    changes = {**train.changes, **dict(map(parse_assignment, overrides or ()))}
    arguments["train_settings"] = train.model_copy(update={"set": changes or None}).model_dump(exclude_none=True)
    EvaluateConfig.parse(arguments["evaluate_settings"], where=f"{params}: evaluate")
    RegisterConfig.parse(arguments["register_settings"], where=f"{params}: register")
    return arguments


def store_argument(address: str | None, *, local: bool) -> str:
    """Return the address of the store of results as the tasks of a run need it; empty for none.

    Args:
        address: value of `--store`.
        local: the tasks run on this machine; otherwise a folder is one of the shared volume.

    Raises:
        UserError: it is no address, or a relative folder of another machine.
    """
    if not address:
        return ""
    storage = open_storage(address)
    if not isinstance(storage, FolderStorage):
        return address
    if not local and not storage.root.is_absolute():
        hint = "Give a folder below /data, or s3://BUCKET/PREFIX."
        raise UserError(f"'{address}' is relative: the tasks do not know this folder", where="--store", hint=hint)
    return str(storage.root.absolute())
