"""Convert the ids of annotation files to unique 64-bit integers."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from codetr.data.validation.findings import Findings

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


class ImageIds:
    """Resolve the image ids of one file: integers are kept, text that is not a number is mapped to unused integers.

    Args:
        values: the id of every image entry, of any type.
    """

    def __init__(self, values: list[Any]) -> None:
        integers = {integer for value in values if (integer := as_integer(value)) is not None}
        free = max(integers, default=0) + 1
        self._numbered: dict[str, int] = {}
        for value in values:
            if isinstance(value, str) and value and as_integer(value) is None and value not in self._numbered:
                self._numbered[value] = free + len(self._numbered)

    def resolve(self, value: Any) -> int | None:
        """Return the integer for an id in any list of the file; None if it is not an id."""
        integer = as_integer(value)
        if integer is None and isinstance(value, str):
            return self._numbered.get(value)
        return integer

    def report(self, value: Any, findings: Findings, example: str) -> None:
        """Add a finding if the id of an image was changed."""
        if isinstance(value, str) and value in self._numbered:
            findings.add("image_id_numbered", f"{example}: {value!r} is now {self._numbered[value]}")
        elif not isinstance(value, int):
            findings.add("image_id_converted", f"{example}: {value!r}")
