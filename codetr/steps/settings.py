"""Read the settings of a step: defaults, a section of a params file, given values, assignments, in this order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from codetr.core.errors import UserError
from codetr.core.settings import Settings, read_yaml

if TYPE_CHECKING:
    from codetr.zoo.recipe import Recipe


T = TypeVar("T", bound=Settings)


def section(params: Path | None, name: str, *, optional: bool = False) -> dict[str, Any]:
    """The settings under `name` in a params file; empty without a file, and if the section is `optional` without it.

    Raises:
        UserError: no such file or section, or the section is not a mapping.
    """
    if params is None:
        return {}
    values = read_yaml(params)
    if name not in values:
        if optional:
            return {}
        there = ", ".join(map(str, values)) or "none"
        raise UserError(f"has no section '{name}'", where=str(params), hint=f"Sections: {there}.")
    if values[name] is None:
        return {}
    if not isinstance(values[name], dict):
        raise UserError(f"is a {type(values[name]).__name__}, expected a mapping", where=f"{params}: {name}")
    return dict(values[name])


def step_settings(
    kind: type[T],
    name: str,
    params: Path | None,
    assignments: Sequence[str] | None,
    given: Mapping[str, Any] | None = None,
) -> T:
    """Settings of a step.

    Args:
        kind: the step's settings class.
        name: the step's section in a params file.
        params: a params file.
        assignments: what `--set` was given.
        given: values of command-line options, by field; None means that the option was not used.

    Raises:
        UserError: names the file or option, the field and the value.
    """
    values = section(params, name)
    values.update({field: value for field, value in (given or {}).items() if value is not None})
    where = f"{params}: {name}" if params else f"settings of {name}"
    return kind.parse(values, where=where).override(assignments or [])


def read_recipe(name: str) -> Recipe:
    """A recipe by its name in the zoo, or from a YAML file as `codetr zoo NAME` prints it.

    Raises:
        UserError: neither a recipe nor a file of that name, or the file is not a recipe.
    """
    from codetr import zoo
    from codetr.zoo.recipe import Recipe

    if name.endswith((".yaml", ".yml")):
        return Recipe.parse(read_yaml(Path(name)), where=name)
    return zoo.recipe(name)


def chosen_recipe(name: str | None, params: Path | None, assignments: Sequence[str] | None) -> Recipe:
    """The recipe that `train` runs: `--recipe` or the params file's, with the changes of both `set`s.

    The section `train` of a params file has a `recipe` and, under `set`, values by dotted path.

    Raises:
        UserError: no recipe is named, an unknown field, or a value of the wrong type.
    """
    values = section(params, "train")
    unknown = sorted(map(str, values.keys() - {"recipe", "set"}))
    if unknown:
        hint = "The section has `recipe` and `set`; settings of the recipe go under `set`, e.g. training.epochs: 12."
        raise UserError(f"unknown field '{unknown[0]}'", where=f"{params}: train", hint=hint)
    changes = values.get("set") or {}
    if not isinstance(changes, dict):
        raise UserError("is not a mapping of dotted paths to values", where=f"{params}: train.set")
    name = name or values.get("recipe")
    if not name:
        raise UserError("no recipe is named", hint="Give --recipe; `codetr zoo` lists them.")
    recipe = read_recipe(str(name)).changed(
        ((str(path), value) for path, value in changes.items()), where=f"{params}: train.set"
    )
    return recipe.override(assignments or [])
