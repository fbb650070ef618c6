"""Commands, settings, imports and paths in the guides exist."""

import ast
import re
import shlex
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import typer

from codetr import zoo
from codetr.cli.app import app
from codetr.core.errors import UserError
from codetr.core.settings import Settings
from codetr.data.ingest.config import PrepareConfig
from codetr.evaluation.config import EvaluateConfig
from codetr.steps.register import RegisterConfig
from pipelines.__main__ import app as pipelines_app
from tests.support.paths import ROOT

GUIDES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
PROGRAMS = {"codetr": typer.main.get_command(app), "python -m pipelines": typer.main.get_command(pipelines_app)}

OTHERS = ("kubectl ", "helm ", "terraform ", "aws ")
"""Programs whose arguments are names such as codetr."""


def code_lines(text: str) -> list[str]:
    """Return every line of code blocks and every code span, with continued lines joined."""
    joined = text.replace("\\\n", " ")
    blocks = re.findall(r"^(?: {4}|```\w*\n)(.*)$", joined, re.MULTILINE)
    fenced = [line for block in re.findall(r"```\w*\n(.*?)```", joined, re.DOTALL) for line in block.splitlines()]
    return [*blocks, *fenced, *re.findall(r"`([^`\n]+)`", joined)]


def commands(text: str) -> Iterator[tuple[Any, list[str]]]:
    """Yield every command in code that belongs to one of the programs, with the words after its name."""
    for line in code_lines(text):
        if line.startswith(OTHERS):
            continue
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
    """A reader who copies a command would get an error."""
    for command, words in commands(guide.read_text(encoding="utf-8")):
        known = {name for option in command.params for name in option.opts} | {"--help", "-h"}
        used = {word.split("=")[0] for word in words if re.match(r"-{1,2}[a-z]", word)}
        assert used <= known, f"{command.name}: {sorted(used - known)}"


PREPARE = PrepareConfig.parse({"train": {"annotations": "train.json"}})
STEPS: dict[str, Settings] = {"prepare": PREPARE, "evaluate": EvaluateConfig(), "register": RegisterConfig()}


def assignments(text: str) -> Iterator[tuple[Sequence[Settings], list[str]]]:
    """Yield the values of `--set` in each line of code, with the settings that one of has to accept them all."""
    for line in code_lines(text):
        words = shlex.split(line.split("  #")[0], posix=True) if "--set " in line and "…" not in line else []
        given = [value for option, value in pairwise(words) if option == "--set" and value.lower() == value]
        if not given or any(mark in value for value in given for mark in ("value", "FOLDER", "FILE")):
            continue
        step = re.search(r"codetr ([a-z]+)", line)
        recipe = re.search(r"--recipe (\w+)(?: |$)", line)
        if step is not None and step[1] in STEPS:
            yield [STEPS[step[1]]], given
        elif recipe is not None and recipe[1] in zoo.names():
            yield [zoo.recipe(recipe[1])], given
        else:
            recipes = ("tiny", "co_dino_5scale_r50_1x_coco", "co_deformable_detr_r50_1x_coco")
            yield [*STEPS.values(), *map(zoo.recipe, recipes)], given


@pytest.mark.parametrize("guide", GUIDES, ids=lambda path: path.name)
def test_every_setting_in_a_guide_is_accepted(guide: Path) -> None:
    """A reader who copies a command would get an error: an unknown setting, or a value of another type."""
    for candidates, given in assignments(guide.read_text(encoding="utf-8")):
        errors = []
        for settings in candidates:
            try:
                settings.override(given)
            except UserError as error:
                errors.append(str(error))
        assert len(errors) < len(candidates), f"{given}: {errors}"


def test_settings_are_found_in_the_guides() -> None:
    """The test above would pass on guides it cannot read."""
    found = [
        value for guide in GUIDES for _, given in assignments(guide.read_text(encoding="utf-8")) for value in given
    ]
    assert len(found) > 60
    assert {"floor=0.3", "tiles={size: 1024}", "training.accumulate=8"} <= set(found)


@pytest.mark.parametrize("guide", GUIDES, ids=lambda path: path.name)
def test_every_import_in_a_guide_works(guide: Path) -> None:
    """A reader who copies a snippet would get an ImportError."""
    for block in re.findall(r"```python\n(.*?)```", guide.read_text(encoding="utf-8"), re.DOTALL):
        imports: list[ast.stmt] = [
            node for node in ast.parse(block).body if isinstance(node, (ast.Import, ast.ImportFrom))
        ]
        exec(compile(ast.Module(imports, type_ignores=[]), guide.name, "exec"), {})


def test_every_link_of_the_readme_leads_somewhere() -> None:
    """The site's test checks the guides; the README is not part of the site."""
    links = re.findall(r"\]\(([^)#]+)", (ROOT / "README.md").read_text(encoding="utf-8"))
    assert len(links) > 30
    assert [link for link in links if "://" not in link and not (ROOT / link).is_file()] == []


def test_every_path_of_the_repository_in_a_guide_exists() -> None:
    """A reader would look for a file that has moved."""
    folders = "codetr|tests|benchmarks|infra|dags|pipelines|components|requirements|docs"
    named = {
        (guide.name, path.rstrip("."))
        for guide in GUIDES
        for path in re.findall(rf"(?<![\w/~.-])((?:{folders})/[\w./-]+)", guide.read_text(encoding="utf-8"))
    }
    assert len(named) > 60
    assert sorted(entry for entry in named if not (ROOT / entry[1]).exists()) == []


def test_commands_are_found_in_the_guides() -> None:
    """The test above would pass on guides it cannot read."""
    found = {command.name for guide in GUIDES for command, _ in commands(guide.read_text(encoding="utf-8"))}
    assert {"prepare", "train", "evaluate", "register", "predict", "score", "rollback", "submit"} <= found
