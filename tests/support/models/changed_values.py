"""Changes of single values in nested configurations."""

from __future__ import annotations

import copy
from typing import Any


def changed(root: Any, path: str, value: Any) -> Any:
    """Return a copy of nested dicts and lists with another value at a dotted path."""
    result = copy.deepcopy(root)
    *parents, last = path.split(".")
    node = result
    for part in parents:
        node = node[int(part) if isinstance(node, list) else part]
    node[int(last) if isinstance(node, list) else last] = value
    return result


def another(value: Any) -> Any:
    """Return a value of the same kind that means something else."""
    match value:
        case bool():
            return not value
        case int() | float():
            return value + 1
        case str():
            return f"other {value}"
        case [int() | float() as first, *rest] if not isinstance(first, bool):
            return [first + 1, *rest]
        case [_, *rest]:
            return rest
    return [1]
