"""Help texts in a narrow terminal: examples can be read and copied, prose has the breaks of the terminal only."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st

from codetr.cli.app import app
from codetr.cli.help_text import WIDTH, help_text
from tests.support.command import call

TAG = re.compile(r"(?<!\\)\[/?[a-z ]*\]")


def commands() -> Iterator[tuple[str, ...]]:
    group = typer.main.get_command(app)
    for name, command in group.commands.items():  # type: ignore[attr-defined]
        below = getattr(command, "commands", None)
        yield from [(name, other) for other in below] if below else [(name,)]


def callback(*command: str) -> Callable[..., Any]:
    groups = {info.name: info.typer_instance for info in app.registered_groups}
    owner = groups[command[0]] if len(command) > 1 else app
    assert owner is not None
    found = {
        str(info.name or getattr(info.callback, "__name__", "")).replace("_", "-"): info
        for info in owner.registered_commands
    }
    function = found[command[-1]].callback
    assert function is not None
    return function


def examples(text: str) -> list[list[str]]:
    """The words of every command between indented lines, continued lines joined."""
    joined = re.sub(r"\s*\\\n\s+", " ", text)
    return [
        shlex.split(line)
        for line in joined.splitlines()
        if re.match(r" {4,5}(codetr|torchrun) ", line) and "…" not in line
    ]


@pytest.mark.parametrize("command", commands(), ids=" ".join)
@pytest.mark.parametrize("columns", [80, 120])
def test_examples_fit_the_terminal_and_can_be_copied(
    command: tuple[str, ...], columns: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A command that the terminal breaks runs as two when it is pasted."""
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("TERM", "xterm")
    _, out, _ = call(capsys, *command, "--help")
    text = "\n".join(line.rstrip() for line in out.split("╭")[0].splitlines())
    docstring = re.sub(r" +(?=\[cyan\])", "", callback(*command).__doc__ or "")
    source = TAG.sub(lambda tag: "    " if tag[0] == "[cyan]" else "", docstring)
    assert examples(text) == examples(source) != []


@pytest.mark.parametrize("command", commands(), ids=" ".join)
def test_options_are_explained_within_the_terminal(
    command: tuple[str, ...], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Values were called `<float range>` and flags `<bool>`, which left ten columns for what they mean."""
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "xterm")
    _, out, _ = call(capsys, *command, "--help")
    assert max(map(len, out.splitlines())) <= 80
    found: Any = typer.main.get_command(app)
    for name in command:
        found = found.commands[name]
    for option in found.params:
        if option.param_type_name == "option" and option.name != "help":
            assert option.help, option.name
            assert option.metavar is not None, option.name
            assert re.fullmatch(r"[A-Zx][^<>\[\] ]*|[a-z0-9|-]*", option.metavar), option.metavar


def test_prose_is_one_line_and_other_indented_lines_stay() -> None:
    text = help_text("""First
    sentence.

    A paragraph
    of two lines.

        a → b
        c → d
    """)
    assert text == "First sentence.\n\nA paragraph of two lines.\n\n    a → b\n    c → d"


WORDS = st.lists(st.text("abc/.", min_size=1, max_size=12), min_size=1, max_size=3).map(" ".join)


@given(st.lists(WORDS, min_size=1, max_size=8))
def test_an_example_of_any_length_is_broken_before_options(values: list[str]) -> None:
    command = "codetr x" + "".join(f" --o{index} {value}" for index, value in enumerate(values))
    lines = TAG.sub("", help_text(f"Text.\n\n    [cyan]{command}[/]")).split("\n\n")[1].split("\n")
    assert all(len(line) <= WIDTH for line in lines)
    assert " ".join(line.strip().removesuffix("\\").strip() for line in lines) == command
    assert all(line.lstrip().startswith("--o") for line in lines[1:])
