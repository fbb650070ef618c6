"""Read the settings of a step: defaults, a section of a params file, given values, assignments, in this order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import model_validator

from codetr.core.errors import UserError
from codetr.core.settings import Settings
from codetr.core.yaml_text import parse_yaml, read_yaml

if TYPE_CHECKING:
    from codetr.zoo.recipe import Recipe

T = TypeVar("T", bound=Settings)


class TrainSection(Settings):
    """The section `train` of a params file.

    Attributes:
        recipe: a recipe of the zoo, or a YAML file as `codetr zoo NAME` prints it.
        set: what differs from the recipe, by dotted path; None for nothing.
    """

    recipe: str | None = None
    set: dict[str, Any] | None = None

    @property
    def changes(self) -> dict[str, Any]:
        """What differs from the recipe, by dotted path."""
        return self.set or {}

    @model_validator(mode="before")
    @classmethod
    def _refuse_settings_of_the_recipe(cls, values: Any) -> Any:
        """Refuse `epochs: 12` beside `recipe`, with the form it should have."""
        if unknown := sorted(values.keys() - cls.model_fields.keys()):
            form = "settings of the recipe go under `set`, e.g. `set: {training.epochs: 12}`"
            raise ValueError(f"unknown field '{unknown[0]}': {form}")
        return values


def section(params: Path | None, name: str, *, optional: bool = False) -> dict[str, Any]:
    """Return a section of a params file; empty without a file, and if the section is `optional` without it.

    Raises:
        UserError: no such file or section, or the section is not a mapping.
    """
    if params is None:
        return {}
    values = read_yaml(params)
    if name not in values:
        if optional:
            return {}
        sections = ", ".join(map(str, values)) or "none"
        raise UserError(f"has no section '{name}'", where=str(params), hint=f"Sections: {sections}.")
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
    """Read the settings of a step.

    Args:
        kind: the step's settings class.
        name: the step's section in a params file.
        params: a params file.
        assignments: `path.to.field=value`, the values of `--set`.
        given: values of command-line options, by field; None for an option that was not given.

    Raises:
        UserError: names the file or option, the field and the value.
    """
    values = section(params, name)
    values.update({field: value for field, value in (given or {}).items() if value is not None})
    where = f"{params}: {name}" if params else f"settings of {name}"
    return kind.parse(values, where=where).override(assignments or [])


def checkpoint_folder(output: Path, given: Path | None) -> Path:
    """Return the folder of checkpoints of a training run: the given one, else the output with the suffix .checkpoints.

    Args:
        output: folder of the model.
        given: value of `--checkpoints`.
    """
    return given or Path(f"{output}.checkpoints")


def read_recipe(name: str) -> Recipe:
    """Return a recipe by its name in the zoo, from a YAML file as `codetr zoo NAME` prints it, or from JSON.

    JSON, which begins with a brace, is how a whole recipe travels to a cluster that does not see this machine's files.

    Raises:
        UserError: neither a recipe nor a file of that name, or its content is not a recipe.
    """
    from codetr import zoo
    from codetr.zoo.recipe import Recipe

    if name.startswith("{"):
        return Recipe.parse(parse_yaml(name, where="--recipe"), where="--recipe")
    if name.endswith((".yaml", ".yml")):
        return Recipe.parse(read_yaml(Path(name)), where=name)
    return zoo.recipe(name)


def chosen_recipe(given: str | Recipe | None, params: Path | None, assignments: Sequence[str] | None) -> Recipe:
    """Return the recipe that `train` runs: `--recipe` or the params file's, changed by the file's `set` and `--set`.

    Args:
        given: the name of a recipe or a YAML file, as for `read_recipe`; or a recipe; None for that of `params`.
        params: a params file.
        assignments: `path.to.field=value`, the values of `--set`.

    Raises:
        UserError: no recipe is named, an unknown field, or a value of the wrong type.
    """
    name = given if isinstance(given, str) else None
    train = step_settings(TrainSection, "train", params, None, {"recipe": name})
    if given is None and not train.recipe:
        raise UserError("no recipe is named", hint="Give --recipe; `codetr zoo` lists them.")
    recipe = read_recipe(train.recipe or "") if given is None or isinstance(given, str) else given
    recipe = recipe.changed(train.changes.items(), where=f"{params}: train.set")
    return recipe.override(assignments or [])


def recipe_files(recipe: Recipe) -> dict[str, Path]:
    """Return the files and folders that a recipe names, by its setting; weights to download have names, not paths."""
    named = {"init_from": recipe.init_from, "backbone_weights": recipe.backbone_weights}
    return {
        setting: Path(value)
        for setting, value in named.items()
        if value and (setting == "init_from" or value.endswith((".safetensors", ".pth", ".pt")))
    }
