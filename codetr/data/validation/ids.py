"""Convert the ids of annotation files to unique 64-bit integers."""

from __future__ import annotations

from collections import defaultdict
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from codetr.data.validation.findings import Findings, short

LARGEST = (1 << 62) - 1
"""Largest id accepted; leaves room for the ids that are assigned to records without one."""


def as_integer(value: Any) -> int | None:
    """Return an id as a 64-bit integer: an integer, decimal text, or a float without a fraction; else None."""
    if isinstance(value, bool):
        return None
    if isinstance(value, str):
        text = value.strip()
        if len(text) > 20 or not text.removeprefix("-").isdecimal():
            return None
        value = int(text)
    elif isinstance(value, float):
        # Beyond 2**53 a float no longer distinguishes neighbouring integers.
        if not (value.is_integer() and abs(value) <= 1 << 53):
            return None
        value = int(value)
    return value if isinstance(value, int) and -LARGEST <= value <= LARGEST else None


def make_unique(given: NDArray[np.int64], unusable: NDArray[np.bool_] | bool = False) -> NDArray[np.int64]:
    """Return (n,) int64 unique ids: the first record with an id keeps it, the others get unused ones above all of them.

    Args:
        given: (n,).
        unusable: (n,) ids that have to be replaced even where they occur first.
    """
    ids = given.copy()
    first = np.zeros(len(given), bool)
    first[np.unique(given, return_index=True)[1]] = True
    replaced = np.flatnonzero(~first | unusable)
    ids[replaced] = max(int(given.max(initial=0)), 0) + 1 + np.arange(len(replaced))
    return ids


class ListedIds:
    """Resolve the ids of one list of a file, of its images or its categories.

    Integers of at most 62 bits are kept, and text that is such a number is converted. Other text, larger integers, and
    text that is the same number as another id ("01" and "1") are mapped to unused integers.

    Args:
        values: the id of every entry, of any type.
    """

    def __init__(self, values: list[Any]) -> None:
        integers: dict[int, list[Any]] = defaultdict(list)
        others = []
        for value in values:
            integer = as_integer(value)
            if integer is not None:
                integers[integer].append(value)
            elif (key := _key(value)) is not None:
                others.append(key)
        for integer, same in integers.items():
            texts = {text for text in same if isinstance(text, str)}
            different = {text.strip() for text in texts} | {
                str(integer) for value in same if not isinstance(value, str)
            }
            if len(different) > 1:
                others += sorted(text for text in texts if text.strip() != str(integer))
        free = max(integers, default=0) + 1
        self._numbered = {key: free + number for number, key in enumerate(dict.fromkeys(others))}

    @property
    def any_numbered(self) -> bool:
        """Whether some ids are numbers of this file only, so that those of another file may differ."""
        return bool(self._numbered)

    def resolve(self, value: Any) -> int | None:
        """Return the integer for an id in any list of the file; None if it is not an id."""
        key = _key(value)
        if key in self._numbered:
            return self._numbered[key]
        return as_integer(value)

    def as_written(self, identifier: int) -> str:
        """Return what the file has for an id that `resolve` returned."""
        return next((repr(key) for key, number in self._numbered.items() if number == identifier), str(identifier))

    def report(
        self, value: Any, findings: Findings, example: str, kind: Literal["image", "category"] = "image"
    ) -> None:
        """Add a finding if the id of an entry was changed."""
        key = _key(value)
        if key in self._numbered:
            findings.add(f"{kind}_id_numbered", f"{example}: {short(value)} is now {self._numbered[key]}")
        elif not isinstance(value, int):
            findings.add(f"{kind}_id_converted", f"{example}: {value!r}")


def _key(value: Any) -> str | None:
    """Return an id as text if it can stand for an entry; None if it cannot."""
    if isinstance(value, str):
        return value or None
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else None
