"""Options that a command does not have: what may have been meant, and nothing where that is unclear."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codetr.cli.unknown_option import unknown_option
from codetr.core.settings import dotted_paths
from codetr.zoo.tiny import tiny
from tests.support.command import call

OPTIONS = ("--dataset", "-d", "--recipe", "--nproc", "--force", "--set", "--output")


@pytest.mark.parametrize(
    ("name", "command", "meant"),
    [
        ("--epochs", "codetr train", "Did you mean the setting, --set training.epochs=…? "),
        ("--lr", "codetr train", "--set training.optimizer.lr=…"),
        ("--batch-size", "codetr train", "--set loader.batch_size=…"),
        ("--batch", "codetr train", "--set loader.batch_size=…"),
        ("--seed", "codetr train", "--set training.seed=…"),
        ("--batch-size", "codetr evaluate", "--set batch_size=…"),
        ("--val-fraction", "codetr prepare", "--set val_fraction=…"),
        ("--recpie", "codetr train", "Did you mean --recipe? "),
        ("--out", "codetr train", "there is no option --out. `codetr train --help`"),
        ("--zzz", "codetr train", "there is no option --zzz. `codetr train --help`"),
        ("-x", "codetr train", "there is no option -x. `codetr train --help`"),
        ("--epochs", "codetr predict", "there is no option --epochs. `codetr predict --help`"),
    ],
)
def test_an_unknown_option_is_answered_with_what_may_be_meant(name: str, command: str, meant: str) -> None:
    """`--epochs` was answered with another option, whose name shares some letters."""
    assert meant in str(unknown_option(name, command, OPTIONS))


@given(st.sampled_from(sorted(dotted_paths(tiny().model_dump()))))
def test_every_setting_of_a_recipe_is_found_by_its_name(path: str) -> None:
    """The suggestion is a setting that exists."""
    name = path.rpartition(".")[2]
    error = unknown_option(f"--{name.replace('_', '-')}", "codetr train", OPTIONS)
    assert error.hint is not None
    suggested = error.hint.partition("--set ")[2].partition("=")[0]
    assert suggested.rpartition(".")[2] == name
    assert suggested in dotted_paths(tiny().model_dump())


def test_the_command_line_answers_so(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = call(capsys, "train", "--epochs", "3")
    assert code == 2
    assert err.startswith("Error: there is no option --epochs. Did you mean the setting, --set training.epochs=…?")
