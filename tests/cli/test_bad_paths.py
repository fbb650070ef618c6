"""Every path of every command given as what it is not: one line that names it, exit code 2, nothing created."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from codetr.cli.arguments import checked_arguments
from codetr.core.errors import UserError
from tests.support.command import call
from tests.support.models.small_models import write_dataset, write_model

BAD = {
    "empty": "",
    "no user": "~nobody-of-this-name/x",
    "long name": "x" * 300,
    "long path": "/".join(["x" * 100] * 60),
    "below a file": "file/x",
    "below a device": "/dev/null/x",
    "below proc": "/proc/x/y",
    "NUL": "a\0b",
}
INPUTS = [
    "prepare --train {} --images folder -o out",
    "prepare --train a.json --images {} -o out",
    "prepare --params {} -o out",
    "train --recipe tiny -d {} -o out",
    "train --recipe {} -d dataset -o out",
    "train --params {} -d dataset -o out",
    "evaluate -m {} -d dataset -o out",
    "evaluate -m model -d {} -o out",
    "register -m {} -e folder -r registry -o out",
    "register -m model -e {} -r registry -o out",
    "predict -m {} -o out folder",
    "benchmark -m {}",
    "benchmark -m model --image {}",
    "convert {} -o out",
    "convert a.json --config {} -o out",
    "convert a.json --classes {} -o out",
    "export -m {} -o out",
    "score {} a.json",
    "compare {} folder",
    "doctor {}",
    "doctor --train {}",
    "show {} -o out",
    "show dataset -o out --augmented --recipe {}",
    "registry list {}",
    "registry show {}",
    "registry rollback {} --why x",
    "zoo {}",
]
OUTPUTS = [
    "prepare --train a.json --images folder -o {}",
    "train --recipe tiny -d dataset -o {}",
    "evaluate -m model -d dataset -o {}",
    "predict -m model -o {} folder",
    "benchmark -m model --size 9x9 --repeat 1 --warmup 0 -o {}",
    "convert --to-official model -o {}",
    "export -m model -o {}",
    "show dataset -o {}",
    "sample-data {} --images 1",
]


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("inputs")
    dataset = write_dataset(root / "source", 2)
    write_model(root / "model")
    (root / "dataset").symlink_to(dataset)
    (root / "file").write_text("x")
    (root / "a.json").write_text('{"images": [], "annotations": [], "categories": []}')
    (root / "folder").mkdir()
    (root / "folder" / "x.txt").write_text("x")
    return root


@pytest.fixture
def here(inputs: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    before = sorted(os.listdir(inputs))
    monkeypatch.chdir(inputs)
    yield inputs
    assert sorted(os.listdir(inputs)) == before


def check(capsys: pytest.CaptureFixture[str], command: str, value: str) -> None:
    code, _, err = call(capsys, *(argument.replace("{}", value) for argument in command.split()))
    assert code == 2, err
    assert err.splitlines()[-1].startswith("Error: ")
    assert "Traceback" not in err
    assert len(err) < 10_000


@pytest.mark.parametrize("kind", BAD)
def test_an_input(capsys: pytest.CaptureFixture[str], here: Path, kind: str) -> None:
    for command in INPUTS:
        check(capsys, command, BAD[kind])


@pytest.mark.parametrize("kind", [*BAD, "file", "other folder", "current folder", "root folder", "device"])
def test_an_output(capsys: pytest.CaptureFixture[str], here: Path, kind: str) -> None:
    others = {
        "file": "file",
        "other folder": "folder",
        "current folder": ".",
        "root folder": "/",
        "device": "/dev/full",
    }
    for command in OUTPUTS:
        if (command.startswith(("convert", "benchmark")) and kind in ("device", "file")) or kind == "below proc":
            continue  # these write a file; what /proc answers depends on the system
        check(capsys, command, ({"device": "/dev/full"} | BAD | others)[kind])


def test_quoted_home_folders_are_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    """A shell leaves `--output=~/x` as it is, and a folder `~` would be created."""
    monkeypatch.setenv("HOME", "/home/me")
    given = [
        "~/x",
        "--output=~/x",
        "--set",
        "init_from=~/x",
        "--set",
        "init_from=~",
        "~",
        "a~b",
        "~ 3 AP",
        "-o",
        "x/~/y",
    ]
    assert checked_arguments(given) == [
        *("/home/me/x", "--output=/home/me/x", "--set", "init_from=/home/me/x", "--set", "init_from=~", "/home/me"),
        *("a~b", "~ 3 AP", "-o", "x/~/y"),
    ]


@pytest.mark.parametrize(("given", "named"), [(["-o", ""], "-o"), (["--output="], "--output"), ([""], "an argument")])
def test_an_empty_argument_names_its_option(given: list[str], named: str) -> None:
    """As a path it would be the current folder."""
    with pytest.raises(UserError, match=f"^{named}.*is empty"):
        checked_arguments(given)
