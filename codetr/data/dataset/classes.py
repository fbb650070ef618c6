"""Read and write the classes of a prepared dataset, `classes.json`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from codetr.core.errors import UserError, did_you_mean, listed
from codetr.core.files import read_json, write_json
from codetr.data.lvis import FREQUENCIES, Frequency

CLASSES = "classes.json"

_UNKNOWN = Frequency(None, None)


@dataclass(frozen=True)
class Classes:
    """The classes of a dataset, three lists by label.

    Attributes:
        names: unique.
        category_ids: original ids, ascending.
        frequencies: their frequencies in the training set of LVIS, where the annotation file has them.
    """

    names: list[str]
    category_ids: list[int]
    frequencies: list[Frequency]


def write_classes(folder: Path, names: Mapping[int, str], frequencies: Mapping[int, Frequency]) -> None:
    """Write the classes of a dataset.

    Args:
        folder: the dataset folder.
        names: by category id, in ascending order.
        frequencies: by category id, where known; left out of the file if there are none.
    """
    values: dict[str, list[Any]] = {"names": list(names.values()), "category_ids": list(names)}
    if frequencies:
        ordered = [frequencies.get(identifier, _UNKNOWN) for identifier in names]
        values |= {"frequency": [entry.group for entry in ordered], "image_count": [e.image_count for e in ordered]}
    write_json(folder / CLASSES, values)


def read_classes(dataset: Path) -> Classes:
    """Read the classes of a dataset.

    Raises:
        UserError: the file is missing or damaged.
    """
    path = dataset / CLASSES
    if not path.is_file():
        raise UserError(f"has no {CLASSES}", where=str(dataset), hint="Create a dataset folder with `codetr prepare`.")
    values = read_json(path)
    fields = values if isinstance(values, dict) else {}
    names = [name for name in as_list(fields.get("names")) if type(name) is str]
    ids = [identifier for identifier in as_list(fields.get("category_ids")) if type(identifier) is int]
    groups = [group for group in as_list(fields.get("frequency")) if group in (None, *FREQUENCIES)]
    counts = [count for count in as_list(fields.get("image_count")) if count is None or type(count) is int]
    written: dict[str, list[Any]] = {"names": names, "category_ids": ids}
    if groups or counts:
        written |= {"frequency": groups, "image_count": counts}
    else:
        groups = counts = [None] * len(names)
    if not names or written != values or len({len(part) for part in (names, ids, groups, counts)}) > 1:
        fields_needed = "'names' and 'category_ids', two lists of one length, and of LVIS 'frequency' and 'image_count'"
        raise UserError(f"needs {fields_needed}", where=str(path))
    return Classes(names, ids, [Frequency(*entry) for entry in zip(groups, counts, strict=True)])


def labels_of_classes(names: Sequence[str], given: Sequence[str]) -> list[int]:
    """Return the labels of classes by their names.

    Args:
        names: of all classes, by label.
        given: names to look up.

    Raises:
        UserError: there is no class of one of these names; with similar names that exist.
    """
    labels = {name: label for label, name in enumerate(names)}
    for name in given:
        if name not in labels:
            hint = f"{did_you_mean(name, names)}Classes: {listed(list(names), 20)}."
            raise UserError(f"there is no class '{name}'", hint=hint)
    return [labels[name] for name in given]


def as_list(value: Any) -> list[Any]:
    """Return `value` if it is a list, else an empty list."""
    return value if isinstance(value, list) else []
