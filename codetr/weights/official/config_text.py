"""Reading an official configuration from the text that checkpoints carry, without executing it.

The text is Python, written by mmcv from a resolved configuration: assignments of `dict(...)`, lists, strings and
numbers. It is parsed, and what is not of that form is not read.
"""

from __future__ import annotations

import ast
from typing import Any

_LONGEST = 1_000_000
"""Characters; the published configurations have some twenty thousand."""


def parse_config_text(text: str) -> dict[str, Any]:
    """The values assigned to names at the top level, as plain dicts and lists; those that are no data are left out."""
    if len(text) > _LONGEST:
        return {}
    try:
        statements = ast.parse(text).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return {}
    values = {}
    for statement in statements:
        if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
            try:
                values[statement.targets[0].id] = _value(statement.value)
            except (ValueError, RecursionError):
                continue
    return values


def _value(node: ast.expr) -> Any:
    match node:
        case ast.Constant(value=value):
            return value
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as number)):
            return -number
        case ast.List(elts=elements) | ast.Tuple(elts=elements):
            return [_value(element) for element in elements]
        case ast.Dict(keys=keys, values=values):
            return {_key(key): _value(value) for key, value in zip(keys, values, strict=True)}
        case ast.Call(func=ast.Name(id="dict"), args=[], keywords=keywords):
            return {_key(keyword.arg): _value(keyword.value) for keyword in keywords}
    raise ValueError("is not data")


def _key(key: ast.expr | str | None) -> str:
    key = _value(key) if isinstance(key, ast.expr) else key
    # None is that of `**others`.
    if not isinstance(key, str):
        raise ValueError("is not data")
    return key
