"""Groups of options: the command line of a command that takes dataclasses, and what the command gets."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from codetr.cli.option_groups import OptionGroup, expand_option_groups


@dataclass(frozen=True, kw_only=True)
class SourceOptions(OptionGroup, panel="Where from"):
    folder: Annotated[Path, typer.Option("--folder", help="A folder.")]
    names: Annotated[list[str] | None, typer.Option("--name", "-n")] = None


@dataclass(frozen=True, kw_only=True)
class ReportOptions(OptionGroup, panel="Reports"):
    count: Annotated[int, typer.Option("--count", min=1)] = 3


@pytest.fixture
def calls() -> list[tuple[str, SourceOptions, ReportOptions]]:
    return []


@pytest.fixture
def app(calls: list[tuple[str, SourceOptions, ReportOptions]]) -> typer.Typer:
    app = typer.Typer()

    @app.command()
    @expand_option_groups
    def command(*, what: Annotated[str, typer.Argument()], source: SourceOptions, report: ReportOptions) -> None:
        """Do something."""
        calls.append((what, source, report))

    return app


def test_options_arrive_in_their_groups(
    app: typer.Typer, calls: list[tuple[str, SourceOptions, ReportOptions]]
) -> None:
    """Values of the wrong group or type, or lost defaults, would change what a command does."""
    result = CliRunner().invoke(app, ["it", "--folder", "a", "-n", "x", "--name", "y"])
    assert result.exit_code == 0, result.output
    assert calls == [("it", SourceOptions(folder=Path("a"), names=["x", "y"]), ReportOptions(count=3))]


def test_a_group_is_a_panel_of_the_help(app: typer.Typer) -> None:
    """Otherwise all options of a command are one long list."""
    shown = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "100"}).output
    assert "Do something." in shown
    source, report = shown.index("Where from"), shown.index("Reports")
    assert source < shown.index("--folder") < shown.index("--name") < report < shown.index("--count")


@pytest.mark.parametrize("arguments", [["it"], ["it", "--folder", "a", "--count", "0"]])
def test_what_typer_checks_is_still_checked(
    app: typer.Typer, calls: list[tuple[str, SourceOptions, ReportOptions]], arguments: list[str]
) -> None:
    """A required option that is missing, and a value out of range."""
    assert CliRunner().invoke(app, arguments).exit_code == 2
    assert calls == []


def test_two_options_of_one_name_are_refused() -> None:
    """One of them would silently get the value of both."""

    @dataclass(frozen=True, kw_only=True)
    class Other(OptionGroup, panel="Other"):
        count: Annotated[int, typer.Option("--other-count")] = 1

    def command(*, report: ReportOptions, other: Other) -> None: ...

    command.__annotations__ = {"report": ReportOptions, "other": Other}
    with pytest.raises(ValueError, match="duplicate parameter name: 'count'"):
        expand_option_groups(command)
