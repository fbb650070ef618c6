"""Typed configuration: validated once at the command line, overridden by dotted path, with errors that name the path.

Every settings class of the project derives from `Settings` and is defined beside the code that it configures.
Other code takes plain arguments or a small settings class, never the whole configuration.
"""

from __future__ import annotations

import re
import reprlib
from collections.abc import Iterable, Mapping
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from codetr.core.errors import UserError, did_you_mean
from codetr.core.text import shorten
from codetr.core.yaml_text import parse_yaml

MAX_PROBLEMS = 20
"""How many problems of one configuration a message lists."""


class _Repr(reprlib.Repr):
    """Represents a value that may be large, or name parts of itself many times, by a text of bounded length."""

    def repr_str(self, value: str, level: int) -> str:
        return repr(shorten(value, self.maxstring))


_REPR = _Repr()
_REPR.maxlevel, _REPR.maxdict, _REPR.maxlist, _REPR.maxtuple = 4, 8, 8, 8
_REPR.maxstring = _REPR.maxother = _REPR.maxlong = 120


_QUOTED = re.compile("'([^']*)'")


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
            raise UserError(describe(error), where=where, hint=_meant(error, cls)) from None

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
    """Parse one YAML value; `1e-4` is a number here, although YAML 1.1 requires a dot in it, and `"1e-4"` is text."""
    try:
        value = parse_yaml(text, where=path)
    except UserError as error:
        raise UserError(f"'{shorten(text)}' {error.problem}", where=path) from None
    if isinstance(value, str) and not text.lstrip().startswith(("'", '"')):
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
            # `epochs` for `training.epochs` is a usual mistake, so whole paths and their last parts are compared.
            paths = dotted_paths(values)
            same_end = [other for other in paths if other.rpartition(".")[2] == path]
            meant = f"Did you mean {same_end[0]!r}? " if same_end else did_you_mean(path, paths)
            raise UserError(f"'{path}' does not exist", where=where, hint=f"{meant}Fields of {parent}: {known}.")
        if depth == len(parts) - 1:
            node[part] = value
        else:
            node = node[part]


def dotted_paths(values: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Return the dotted path of every field in nested mappings, sections included."""
    found = []
    for name, value in values.items():
        found.append(f"{prefix}{name}")
        if isinstance(value, Mapping):
            found += dotted_paths(value, f"{prefix}{name}.")
    return found


def without(values: dict[str, Any], paths: Iterable[str]) -> dict[str, Any]:
    """Return nested values without those at dotted paths; a path of which a part is absent or None changes nothing."""
    for path in paths:
        part, _, rest = path.partition(".")
        if rest and values.get(part) is not None:
            values = {**values, part: without(values[part], [rest])}
        elif not rest:
            values = {name: value for name, value in values.items() if name != part}
    return values


def _meant(error: ValidationError, settings: type[BaseModel]) -> str | None:
    """Return a hint with what is similar to the first unknown field, or to the first value that is not in its list."""
    for problem in error.errors():
        if problem["type"] == "literal_error" and isinstance(problem["input"], str):
            values = _QUOTED.findall(problem["ctx"]["expected"])
            if meant := did_you_mean(problem["input"], values).strip():
                return meant
    unknown = [problem["loc"][-1] for problem in error.errors() if problem["type"] == "extra_forbidden"]
    if not unknown:
        return None
    schema = settings.model_json_schema()
    objects = [schema, *schema.get("$defs", {}).values()]
    return (
        did_you_mean(str(unknown[0]), {name for one in objects for name in one.get("properties", {})}).strip() or None
    )


def describe(error: ValidationError) -> str:
    """Return a pydantic error as text, for every problem the dotted path, what is wrong and the value."""
    problems = []
    found = error.errors(include_url=False, include_context=False)
    for problem in found[:MAX_PROBLEMS]:
        path = ".".join(str(part) for part in problem["loc"]) or "configuration"
        shown = shorten(_REPR.repr(problem["input"]))
        message = problem["msg"].removeprefix("Value error, ")
        problems.append(f"{path}: {message} (got {shown})")
    if more := len(found) - len(problems):
        problems.append(f"and {more} more")
    return "; ".join(problems)
