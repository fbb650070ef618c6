"""Class names of official weights: given, from the checkpoint, or COCO's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

from codetr.core.errors import UserError
from codetr.core.system.os_errors import unreadable
from codetr.data.dataset.classes import CLASSES, read_classes
from codetr.data.formats.coco import read_coco_json
from codetr.data.validation.ids import ListedIds
from codetr.weights.coco_classes import COCO_NAMES
from codetr.weights.official.config_text import parse_config_text

_NAMES = ("CLASSES", "classes")
"""Keys of class names, of MMCV and of MMEngine."""


@dataclass(frozen=True)
class ClassNames:
    """Class names in label order, and where they are from.

    Attributes:
        names: one name for each class.
        origin: human-readable source of the names.
        known: False if no source names the classes, so that they are only numbered.
    """

    names: tuple[str, ...]
    origin: str
    known: bool = True


def read_names(path: Path) -> tuple[str, ...]:
    """Read class names in label order from a dataset folder, a COCO annotation file, a JSON list or a text file.

    Raises:
        UserError: the file cannot be read or has none of these formats.
    """
    if path.is_dir():
        return tuple(read_classes(path).names)
    if path.suffix.lower() not in (".json", ".gz"):
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except OSError as error:
            raise unreadable(error, path) from None
        except UnicodeDecodeError as error:
            raise UserError(f"is not UTF-8 text (byte {error.start})", where=str(path)) from None
        return _checked([line.strip() for line in lines if line.strip()], path)
    content = read_coco_json(path)
    categories = content.get("categories", content.get("names")) if isinstance(content, dict) else content
    if isinstance(categories, list) and all(isinstance(entry, dict) for entry in categories):
        # Labels follow ascending ids, as in a prepared dataset.
        ids = ListedIds([entry.get("id") for entry in categories])
        by_id = {ids.resolve(entry.get("id")): entry.get("name") for entry in categories}
        if None in by_id or len(by_id) < len(categories):
            hint = "Give every category another id."
            raise UserError("categories: an entry has no id, or one that another entry has", where=str(path), hint=hint)
        categories = [by_id[key] for key in sorted(key for key in by_id if key is not None)]
    return _checked(categories, path)


def _checked(names: Any, path: Path) -> tuple[str, ...]:
    if not _are_names(names):
        hint = f"Give a dataset folder, its {CLASSES}, a COCO annotation file, or a text file with one name per line."
        raise UserError("does not contain a list of class names", where=str(path), hint=hint)
    return tuple(names)


def _are_names(names: Any) -> TypeGuard[Sequence[str]]:
    return isinstance(names, list | tuple) and bool(names) and all(isinstance(name, str) and name for name in names)


def resolve_class_names(meta: Mapping[str, Any], num_classes: int, *, given: Sequence[str] | None = None) -> ClassNames:
    """Return the class names of official weights.

    Args:
        meta: metadata of the checkpoint with the weights.
        num_classes: number of classes of the weights.
        given: names that take precedence over those in the checkpoint.

    Raises:
        UserError: the number of given names differs from the number of classes.
    """
    if given is not None:
        if len(given) != num_classes:
            problem = f"has {len(given)} names for the {num_classes} classes of the weights"
            raise UserError(problem, where="--classes", hint="Give one name per class, in label order.")
        return ClassNames(tuple(given), "given by --classes")
    stored = stored_class_names(meta)
    if stored is not None and len(stored) == num_classes:
        return ClassNames(stored, "the checkpoint")
    mismatch = f"; the checkpoint has {len(stored)} names" if stored is not None else ""
    if num_classes == len(COCO_NAMES):
        return ClassNames(COCO_NAMES, f"COCO's, since there are {len(COCO_NAMES)}{mismatch}")
    numbered = tuple(f"class {label}" for label in range(num_classes))
    return ClassNames(numbered, f"numbered, since no source names {num_classes} classes{mismatch}", known=False)


def stored_class_names(meta: Mapping[str, Any]) -> tuple[str, ...] | None:
    """Return the class names in the metadata of a checkpoint, None if there are none.

    MMDetection 2 stores them as `CLASSES`, MMDetection 3 in `dataset_meta`. Both have them in the configuration, as
    `config` and as `cfg`, if it defines classes that are not those of the dataset's type.
    """
    found = [meta, meta.get("dataset_meta")]
    listed = [source.get(key) for source in found if isinstance(source, Mapping) for key in _NAMES]
    for key in ("cfg", "config"):
        text = meta.get(key)
        listed += _configured(parse_config_text(text)) if isinstance(text, str) else ()
    return next((tuple(names) for names in listed if _are_names(names)), None)


def _configured(config: Any) -> Iterator[Any]:
    """Yield what a configuration of MMDetection has in the places of class names, the training set's first."""
    if isinstance(config, list | tuple):
        for part in config:
            yield from _configured(part)
    if isinstance(config, Mapping):
        info = config.get("metainfo")
        yield from (source.get(key) for source in (info, config) if isinstance(source, Mapping) for key in _NAMES)
        for key in ("train_dataloader", "data", "train", "dataset", "datasets"):
            yield from _configured(config.get(key))
