"""What a person may have meant by an option that a command does not have: another option, or a setting."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from codetr.core.errors import UserError, similar_names
from codetr.core.settings import Settings, dotted_paths

_OTHER_NAMES = {
    "batch": "loader.batch_size",
    "bs": "loader.batch_size",
    "image_size": "preprocess.short_side",
    "imgsz": "preprocess.short_side",
    "learning_rate": "training.optimizer.lr",
    "num_workers": "loader.workers",
}
"""Names in other programs of settings of a recipe."""


def unknown_option(name: str, command: str, options: Iterable[str]) -> UserError:
    """Return the error for an option that a command does not have.

    Args:
        name: as it was given, with its dashes.
        command: name of the command, such as "codetr train".
        options: those of the command.
    """
    step = command.rpartition(" ")[2]
    setting = _setting(name.lstrip("-").replace("-", "_"), step)
    known = [option for option in options if option.startswith("--")]
    if setting is not None:
        meant = f"Did you mean the setting, --set {setting}=…? "
    else:
        similar = similar_names(name, known)
        meant = f"Did you mean {' or '.join(similar)}? " if similar else ""
    return UserError(f"there is no option {name}", hint=f"{meant}`{command} --help` lists the options.")


def _setting(name: str, step: str) -> str | None:
    """Return the dotted path of the only setting of a step with this name, or with this name in other programs."""
    values = _SETTINGS[step]() if step in _SETTINGS else {}
    paths = dotted_paths(values)
    if _OTHER_NAMES.get(name) in paths:
        return _OTHER_NAMES[name]
    # The nearest to the root: `epochs` is that of training.
    found = sorted((path for path in paths if path.rpartition(".")[2] == name), key=lambda path: path.count("."))
    return found[0] if found else None


def _fields(settings: type[Settings]) -> dict[str, Any]:
    return dict.fromkeys(settings.model_fields)


def _recipe() -> dict[str, Any]:
    from codetr.zoo.tiny import tiny

    return tiny().model_dump()


def _evaluate() -> dict[str, Any]:
    from codetr.evaluation.config import EvaluateConfig

    return _fields(EvaluateConfig)


def _prepare() -> dict[str, Any]:
    from codetr.data.ingest.config import PrepareConfig

    return _fields(PrepareConfig)


_SETTINGS: dict[str, Callable[[], dict[str, Any]]] = {"train": _recipe, "evaluate": _evaluate, "prepare": _prepare}
