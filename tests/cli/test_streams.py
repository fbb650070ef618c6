"""Standard streams that cannot be written, and hostile text in them, in real processes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.command import call


def test_a_log_that_cannot_be_written_does_not_end_a_command(tmp_path: Path) -> None:
    """Training of days must not end because the disk below its log is full."""
    script = (
        "import sys\nfrom codetr.cli.streams import keep_running_without_log\nkeep_running_without_log()\n"
        "for _ in range(3): print('line' * 5000, file=sys.stderr, flush=True)\nprint('done')"
    )
    with open("/dev/full", "wb") as full:
        done = subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=full, check=False)
    assert (done.returncode, done.stdout) == (0, b"done\n")


def test_streams_that_are_closed_take_no_file(tmp_path: Path) -> None:
    """What a library wrote to standard error went into the first file that was opened, which had its number."""
    script = (
        "import os, sys\nfrom codetr.cli.streams import open_closed_streams\nopen_closed_streams()\n"
        "file = open(sys.argv[1], 'w')\nos.write(2, b'a warning')\nprint('an error', file=sys.stderr)\nprint('x')\n"
        "sys.exit(7 if file.fileno() > 2 and sys.stdin.read() == '' else 8)"
    )
    path = tmp_path / "file"
    command = ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", sys.executable, "-c", script, str(path)]
    assert subprocess.run(command, check=False).returncode == 7
    assert path.read_text() == ""


def test_results_that_cannot_be_printed_are_a_failure() -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "codetr", "zoo", "tiny"], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode == 70
    assert "no space left" in done.stderr
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr


@pytest.mark.parametrize("name", ["x\x1b[31m", "a\nError: b", ":smile:", "[red]x[/]", "\u202ex"])
@pytest.mark.parametrize("arguments", [["registry", "list", "{}"], ["zoo", "{}"], ["zoo", "--{}"], ["{}"]])
def test_arguments_are_shown_as_text(capsys: pytest.CaptureFixture[str], name: str, arguments: list[str]) -> None:
    code, out, err = call(capsys, *(argument.format(name) for argument in arguments))
    assert code == 2
    assert out == ""
    assert err.count("\n") == 1
    assert not {"\x1b", "\u202e", "😄"} & set(err)
