"""Group the options of a command: one dataclass is one argument of the command and one panel of its help."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from copy import copy
from dataclasses import MISSING, fields
from functools import wraps
from typing import Annotated, Any, ClassVar, get_args, get_origin, get_type_hints

from typer.models import OptionInfo


class OptionGroup:
    """Base of dataclasses whose fields are command-line options.

    Every field is `Annotated` with `typer.Option`, as a parameter of a command would be:

        @dataclass(frozen=True, kw_only=True)
        class ReportOptions(OptionGroup, panel="Reports"):
            html: Annotated[Path | None, typer.Option("--html", metavar="FILE", help="…")] = None

        @expand_option_groups
        def doctor(*, report: ReportOptions) -> None: ...

    Attributes:
        panel: title of the help panel that lists the options.
    """

    panel: ClassVar[str]

    def __init_subclass__(cls, *, panel: str) -> None:
        cls.panel = panel


def expand_option_groups(command: Callable[..., None]) -> Callable[..., None]:
    """Return the command with one option in its signature for every field of its `OptionGroup` parameters.

    Typer reads the options from the signature. When the command is called, the values are put back into the groups.

    Args:
        command: a function with keyword-only parameters; a parameter whose type is a group needs no default.

    Raises:
        ValueError: two options have the same name.
    """
    signature = inspect.signature(command)
    hints = get_type_hints(command, include_extras=True)
    groups = {name: hint for name, hint in hints.items() if isinstance(hint, type) and issubclass(hint, OptionGroup)}
    parameters: list[inspect.Parameter] = []
    for name, parameter in signature.parameters.items():
        parameters += _options(groups[name]) if name in groups else [parameter.replace(annotation=hints[name])]

    @wraps(command)
    def expanded(**values: Any) -> None:
        for name, group in groups.items():
            values[name] = group(**{field.name: values.pop(field.name) for field in fields(group)})  # type: ignore[arg-type]
        command(**values)

    expanded.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    expanded.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return expanded


def _options(group: type[OptionGroup]) -> Iterator[inspect.Parameter]:
    """Yield the fields of a group as parameters of a command, in the panel of the group."""
    hints = get_type_hints(group, include_extras=True)
    for field in fields(group):  # type: ignore[arg-type]
        hint = hints[field.name]
        assert get_origin(hint) is Annotated, f"{group.__name__}.{field.name} is not Annotated with typer.Option"
        kind, *metadata = get_args(hint)
        default = inspect.Parameter.empty if field.default is MISSING else field.default
        annotated: Any = Annotated  # mypy takes the subscript below for a type expression otherwise
        annotation = annotated[kind, *(_in_panel(item, group.panel) for item in metadata)]
        yield inspect.Parameter(field.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _in_panel(item: Any, panel: str) -> Any:
    if not isinstance(item, OptionInfo):
        return item
    item = copy(item)
    item.rich_help_panel = panel
    return item
