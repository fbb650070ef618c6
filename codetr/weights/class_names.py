"""The names of a checkpoint's classes: told, written in it, or COCO's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from codetr.core.errors import UserError
from codetr.core.files import read_json
from codetr.data.dataset.classes import CLASSES, read_classes
from codetr.weights.coco_classes import COCO_NAMES
from codetr.weights.official.checkpoint_file import OfficialCheckpoint


@dataclass(frozen=True)
class ClassNames:
    """Names in label order.

    Attributes:
        names: one for each class.
        origin: where they are from, for people.
        known: False if nothing says what the classes are, so that they are only numbered.
    """

    names: tuple[str, ...]
    origin: str
    known: bool = True


def read_names(path: Path) -> tuple[str, ...]:
    """Class names in label order from a dataset folder, a COCO annotation file, a JSON list or a text file of lines.

    Raises:
        UserError: it cannot be read or is none of these.
    """
    if path.is_dir():
        return tuple(read_classes(path).names)
    if path.suffix != ".json":
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"cannot be read: {error}", where=str(path)) from None
        return _checked([line.strip() for line in lines if line.strip()], path)
    content = read_json(path)
    categories = content.get("categories", content.get("names")) if isinstance(content, dict) else content
    if isinstance(categories, list) and all(isinstance(entry, dict) for entry in categories):
        # Labels are given by ascending ids, here and there.
        if not all(isinstance(entry.get("id"), int) for entry in categories):
            raise UserError("has categories without a numeric id", where=str(path))
        categories = [entry.get("name") for entry in sorted(categories, key=lambda entry: entry["id"])]
    return _checked(categories, path)


def _checked(names: Any, path: Path) -> tuple[str, ...]:
    if not _are_names(names):
        hint = f"Give a dataset folder, its {CLASSES}, a COCO annotation file, or a text file with a name a line."
        raise UserError("holds no list of class names", where=str(path), hint=hint)
    return tuple(names)


def _are_names(names: Any) -> bool:
    return isinstance(names, list | tuple) and bool(names) and all(isinstance(name, str) and name for name in names)


def resolve_class_names(
    checkpoint: OfficialCheckpoint, classes: int, *, told: Sequence[str] | None = None
) -> ClassNames:
    """Names of the classes of official weights.

    Args:
        checkpoint: the file they are from.
        classes: how many they tell apart.
        told: names to take in any case.

    Raises:
        UserError: another number of names is told.
    """
    if told is not None:
        if len(told) != classes:
            problem = f"{len(told)} names for the {classes} classes of the weights"
            raise UserError(problem, where="--classes", hint="Give one for each class, in the order of their labels.")
        return ClassNames(tuple(told), "told")
    written = written_names(checkpoint.meta)
    if written is not None and len(written) == classes:
        return ClassNames(written, "the checkpoint")
    instead = f"; the checkpoint names {len(written)}" if written is not None else ""
    if classes == len(COCO_NAMES):
        return ClassNames(COCO_NAMES, f"COCO's, as there are 80{instead}")
    numbered = tuple(f"class {label}" for label in range(classes))
    return ClassNames(numbered, f"numbered, as nothing names {classes} classes{instead}", known=False)


def written_names(meta: Mapping[str, Any]) -> tuple[str, ...] | None:
    """The names a checkpoint holds, None if it holds none."""
    names = meta.get("CLASSES")
    return tuple(names) if isinstance(names, list | tuple) and _are_names(names) else None
