"""Help texts of commands: docstrings, laid out so that they can be read and copied at any width.

Typer keeps the line breaks of a docstring, which then stand beside those of a narrower terminal, and takes the
indentation from the first example when nothing but the first sentence precedes it.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, get_args, get_type_hints

import typer
from typer.models import OptionInfo

WIDTH = 78
"""Columns of a help text in a terminal of 80."""

_TAG = re.compile(r"(?<!\\)\[/?[a-z ]*\]")
"""Markup of Rich."""

_CYAN = "[cyan]"
_EXAMPLE = re.compile(r"\[cyan\][^\]]*(?:\\\[[^\]]*\][^\]]*)*\[/\]")
_INDENT, _HANGING = " " * 4, " " * 8


def lay_out_help(app: typer.Typer) -> None:
    """Replace the help of an application, of its commands, and of the applications in it, by `help_text`."""
    if isinstance(app.info.help, str):
        app.info.help = help_text(app.info.help)
    for command in app.registered_commands:
        if command.callback is not None:
            _name_values(command.callback)
            command.help = help_text(command.callback.__doc__ or "")
    for group in app.registered_groups:
        if group.typer_instance is not None:
            lay_out_help(group.typer_instance)


def _name_values(command: Callable[..., Any]) -> None:
    """Give the options of a command that name no metavar a short one: Typer would show `<float range>` and `<bool>`."""
    # Kept, because annotations that are text are evaluated to other objects each time.
    command.__annotations__ = get_type_hints(command, include_extras=True)
    for annotation in command.__annotations__.values():
        value, *metadata = get_args(annotation) or (annotation,)
        for option in metadata:
            if isinstance(option, OptionInfo) and option.metavar is None:
                option.metavar = _metavar([kind for kind in get_args(value) or (value,) if kind is not type(None)])


def _metavar(kinds: Sequence[Any]) -> str:
    if all(isinstance(kind, str) for kind in kinds):
        return "|".join(kinds)
    return {bool: "", int: "N", float: "X", Path: "PATH"}.get(kinds[0], "TEXT")


def help_text(text: str) -> str:
    """Return a help text with each paragraph on one line, and with examples in lines that fit a terminal.

    Args:
        text: paragraphs, as in a docstring. A command between `[cyan]` and `[/]`, on one line or on several that end
            with a backslash, is an example; other indented lines stay as they are.
    """
    return "\n\n".join(map(_paragraph, inspect.cleandoc(text).split("\n\n")))


def _paragraph(text: str) -> str:
    lines = re.sub(r"\s*\\\n\s*", " ", text).split("\n")
    if all(_EXAMPLE.fullmatch(line.strip()) for line in lines):
        return "\n".join(wrapped for line in lines for wrapped in _wrapped(line.strip()))
    return text if text.startswith(_INDENT) else " ".join(lines)


def _wrapped(example: str) -> Iterator[str]:
    """Yield the lines of an example, each but the last with a backslash at its end.

    The indentation is within the markup: Typer would remove it in front.
    """
    tag, command = example[: len(_CYAN)], example[len(_CYAN) :]
    line = f"{tag}{_INDENT}"
    # An option and its value stay together.
    for part in re.split(r" (?=--?[a-zA-Z])", command):
        if _columns(f"{line} {part} \\") > WIDTH:
            yield f"{line} \\"
            line = f"{_HANGING}{part}"
        else:
            line += part if line.endswith(_INDENT) else f" {part}"
    yield line


def _columns(text: str) -> int:
    return len(_TAG.sub("", text).replace("\\[", "["))
