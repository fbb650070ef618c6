"""Typed configuration: validated once at the command line, overridden by dotted path, with errors that name the path.

Every settings class of the project derives from `Settings` and is defined beside the code that it configures.
Other code takes plain arguments or a small settings class, never the whole configuration.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Self

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from codetr.core.errors import UserError


class Settings(BaseModel):
    """Base of all settings: frozen, and an unknown field is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")

    @classmethod
    def parse(cls, values: Mapping[str, Any], *, where: str | None = None) -> Self:
        """Validate plain values, e.g. from YAML.

        Raises:
            UserError: lists every offending dotted path with its value and what was expected.
        """
        try:
            return cls.model_validate(dict(values))
        except ValidationError as error:
            raise UserError(describe(error), where=where) from None

    def override(self, assignments: Iterable[str]) -> Self:
        """Return a copy with `a.b=value` assignments applied; values are YAML scalars or lists.

        Raises:
            UserError: an assignment without `=`, an unknown path, or a value of the wrong type.
        """
        return self.changed(map(parse_assignment, assignments))

    def changed(self, changes: Iterable[tuple[str, Any]], *, where: str = "--set") -> Self:
        """Return a copy with values set at dotted paths, in their order.

        Raises:
            UserError: an unknown path, or a value of the wrong type.
        """
        values = self.model_dump(mode="python")
        for path, value in changes:
            set_path(values, path, value, where=where)
        return type(self).parse(values, where=where)


def parse_assignment(text: str, *, where: str = "--set") -> tuple[str, Any]:
    """Split `a.b=value` into path and value.

    Raises:
        UserError: there is no `=`, or the value is not YAML.
    """
    path, separator, value = text.partition("=")
    if not separator:
        raise UserError(f"'{text}' is not of the form path.to.field=value", where=where)
    return path.strip(), parse_scalar(value, path)


def parse_scalar(text: str, path: str) -> Any:
    """Parse one YAML value; `1e-4` is a number here, although YAML 1.1 requires a dot in it."""
    try:
        value = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError):  # ValueError: a date such as 2024-13-45
        raise UserError(f"'{text}' is not a valid YAML value", where=path) from None
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return value


def set_path(values: dict[str, Any], path: str, value: Any, *, where: str) -> None:
    """Set `values[a][b][c]` for the dotted path `a.b.c`; unknown parts are an error that lists the known ones."""
    node: Any = values
    parts = path.split(".")
    for depth, part in enumerate(parts):
        if not isinstance(node, dict) or part not in node:
            known = ", ".join(sorted(map(str, node))) if isinstance(node, dict) else "none: it is a single value"
            parent = ".".join(parts[:depth]) or "the configuration"
            raise UserError(f"'{path}' does not exist", where=where, hint=f"Fields of {parent}: {known}.")
        if depth == len(parts) - 1:
            node[part] = value
        else:
            node = node[part]


def without(values: dict[str, Any], paths: Iterable[str]) -> dict[str, Any]:
    """Return nested values without those at dotted paths; a path of which a part is absent or None changes nothing."""
    for path in paths:
        part, _, rest = path.partition(".")
        if rest and values.get(part) is not None:
            values = {**values, part: without(values[part], [rest])}
        elif not rest:
            values = {name: value for name, value in values.items() if name != part}
    return values


def describe(error: ValidationError) -> str:
    """Return a pydantic error as text, for every problem the dotted path, what is wrong and the value."""
    problems = []
    for problem in error.errors():
        path = ".".join(str(part) for part in problem["loc"]) or "configuration"
        value = repr(problem["input"])
        shown = value if len(value) <= 80 else f"{value[:77]}..."
        message = problem["msg"].removeprefix("Value error, ")
        problems.append(f"{path}: {message} (got {shown})")
    return "; ".join(problems)


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML mapping with the safe loader.

    Raises:
        UserError: unreadable file, invalid YAML (with line and column) or something other than a mapping.
    """
    try:
        value = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError("no such file", where=str(path)) from None
    except OSError as error:
        raise UserError(f"cannot be read: {error.strerror}", where=str(path)) from None
    except (yaml.YAMLError, ValueError) as error:  # ValueError: not UTF-8, or a date such as 2024-13-45
        raise UserError(f"is not valid YAML: {error}", where=str(path)) from None
    except RecursionError:
        raise UserError("is nested too deeply to be read", where=str(path)) from None
    if not isinstance(value, dict):
        raise UserError(f"holds a {type(value).__name__}, expected a mapping", where=str(path))
    return value
