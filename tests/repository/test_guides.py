"""The guides' commands are those the command line has."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from codetr.cli.app import app
from pipelines.__main__ import app as pipelines_app
from tests.support.paths import ROOT

GUIDES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
PROGRAMS = {"codetr": typer.main.get_command(app), "python -m pipelines": typer.main.get_command(pipelines_app)}


def commands(text: str) -> Iterator[tuple[Any, list[str]]]:
    """Every command in code spans and blocks that belongs to one of the programs, with the words after its name."""
    joined = text.replace("\\\n", " ")
    blocks = re.findall(r"^(?: {4}|```\w*\n)(.*)$", joined, re.MULTILINE)
    fenced = [line for block in re.findall(r"```\w*\n(.*?)```", joined, re.DOTALL) for line in block.splitlines()]
    for line in [*blocks, *fenced, *re.findall(r"`([^`\n]+)`", joined)]:
        for name, program in PROGRAMS.items():
            match = re.search(rf"(?:^|\s){name} (.*)", line.split("  #")[0].split(" # ")[0])
            if match is None:
                continue
            words = shlex.split(match[1].split(">")[0])
            command = program
            while words and (below := getattr(command, "commands", None)):
                if not re.fullmatch(r"[a-z-]+", words[0]) or words[0].startswith("-"):
                    break  # a placeholder such as STEP, or an option of the program itself
                assert words[0] in below, f"'{line}': there is no command '{words[0]}'"
                command = below[words.pop(0)]
            yield command, words


@pytest.mark.parametrize("guide", GUIDES, ids=lambda path: path.name)
def test_every_option_in_a_guide_exists(guide: Path) -> None:
    """A reader who copies a command would be told that it is wrong."""
    for command, words in commands(guide.read_text(encoding="utf-8")):
        known = {name for option in command.params for name in option.opts} | {"--help", "-h"}
        used = {word.split("=")[0] for word in words if re.match(r"-{1,2}[a-z]", word)}
        assert used <= known, f"{command.name}: {sorted(used - known)}"


def test_commands_are_found_in_the_guides() -> None:
    """The test above would pass on guides it cannot read."""
    found = {command.name for guide in GUIDES for command, _ in commands(guide.read_text(encoding="utf-8"))}
    assert {"prepare", "train", "evaluate", "register", "predict", "score", "rollback", "submit"} <= found
