"""Numbers of bytes as text."""

from __future__ import annotations

import re

from codetr.core.errors import UserError

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")
_FACTORS = {"": 1, **{letter: 1024 ** (k + 1) for k, letter in enumerate("KMGT")}}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?", re.IGNORECASE)


def format_size(size: int) -> str:
    """Format a number of bytes in a unit in which it has few digits: "512 B", "1.5 GiB"."""
    value, unit = float(size), 0
    while value >= 1024 and unit < len(_UNITS) - 1:
        value, unit = value / 1024, unit + 1
    return f"{size} B" if unit == 0 else f"{value:.1f} {_UNITS[unit]}"


def parse_size(text: str, *, where: str) -> int:
    """Return the bytes of a size such as "500G" or "1.5 TiB"; all units are powers of 1024.

    Args:
        text: a number with a unit.
        where: the option, for the message.

    Raises:
        UserError: it is no size.
    """
    found = _SIZE.fullmatch(text.strip())
    if found is None:
        raise UserError(f"'{text}' is not a size", where=where, hint="Write a number with a unit, such as 500G.")
    return int(float(found[1]) * _FACTORS[found[2].upper()])
