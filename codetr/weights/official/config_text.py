"""Parsing of the official configuration in the metadata of checkpoints, without executing it.

The text is Python, written by mmcv from a resolved configuration: assignments of `dict(...)`, lists, strings and
numbers. Other statements are skipped.
"""

from __future__ import annotations

import ast
from typing import Any

_MAX_CHARACTERS = 1_000_000
"""The published configurations have about twenty thousand."""


def parse_config_text(text: str) -> dict[str, Any]:
    """Return the values assigned to names at the top level, as plain dicts and lists; skip values that are not data.

    A text that is too long or not valid Python has none.
    """
    if len(text) > _MAX_CHARACTERS:
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
    # `**others` has the key None.
    if not isinstance(key, str):
        raise ValueError("is not data")
    return key
