"""Files appear atomically, and reading errors name the file and the position."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from codetr.core.errors import UserError
from codetr.core.files import (
    atomic_directory,
    atomic_file,
    read_json,
    require_replaceable,
    sha256_file,
    sha256_json,
    write_json,
)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_atomic_file_keeps_the_old_content_when_writing_fails(tmp_path: Path) -> None:
    """A failed write would otherwise destroy the result that was there."""
    path = tmp_path / "result.json"
    path.write_text("old")

    def write_half() -> None:
        with atomic_file(path) as temporary:
            temporary.write_text("half of the new")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_half()
    assert path.read_text() == "old"
    assert names(tmp_path) == ["result.json"]


def test_atomic_file_is_readable_like_any_other_file(tmp_path: Path) -> None:
    """mkstemp's private mode would hide results from other users of a shared volume."""
    write_json(tmp_path / "a.json", {})
    (tmp_path / "b.json").write_text("{}")
    assert os.stat(tmp_path / "a.json").st_mode == os.stat(tmp_path / "b.json").st_mode


def test_atomic_directory_replaces_a_folder_as_a_whole(tmp_path: Path) -> None:
    """A file of the previous output must not survive in the new one."""
    path = tmp_path / "out"
    path.mkdir()
    (path / "stale.txt").write_text("stale")
    with atomic_directory(path) as temporary:
        (temporary / "fresh.txt").write_text("fresh")
    assert names(path) == ["fresh.txt"]
    assert names(tmp_path) == ["out"]


def test_atomic_directory_leaves_nothing_behind_when_the_body_fails(tmp_path: Path) -> None:
    path = tmp_path / "out"

    def write_half() -> None:
        with atomic_directory(path) as temporary:
            (temporary / "half.txt").write_text("half")
            raise ValueError("bad")

    with pytest.raises(ValueError, match="bad"):
        write_half()
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"a": 1,}', "line 1, column 9"),
        (b"", "line 1, column 1"),
        ("\xe9".encode("latin-1"), "not UTF-8 text"),
        (b"[" * 100_000, "nested too deeply"),
    ],
)
def test_read_json_says_what_is_wrong_and_where(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "bad.json"
    path.write_bytes(content)
    with pytest.raises(UserError, match=message) as caught:
        read_json(path)
    assert str(path) in str(caught.value)


def test_read_json_of_a_folder_or_a_pipe_says_what_it_is(tmp_path: Path) -> None:
    """The advice to remove a pipe would be followed for a folder; opening a pipe waits for ever."""
    with pytest.raises(UserError, match=r"is a folder, not a file$"):
        read_json(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UserError, match="is not a regular file"):
        read_json(tmp_path / "pipe")


def test_read_json_of_a_missing_file_names_it(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        read_json(tmp_path / "missing.json")


def test_write_json_refuses_nan(tmp_path: Path) -> None:
    """NaN is not JSON: other tools would fail on a file that holds it."""
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "a.json", {"ap": float("nan")})
    assert names(tmp_path) == []


def test_json_digest_does_not_depend_on_the_order_of_keys(tmp_path: Path) -> None:
    assert sha256_json({"a": 1, "b": [2]}) == sha256_json(json.loads('{"b": [2], "a": 1}'))
    assert sha256_json({"a": 1}) != sha256_json({"a": 2})
    path = tmp_path / "empty"
    path.touch()
    # the well-known SHA-256 of nothing
    assert sha256_file(path) == "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def test_only_a_missing_empty_or_earlier_folder_may_be_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A command pointed at a folder of images would delete them."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/0.jpg").write_text("a photograph")
    for name in ("missing", "empty"):
        require_replaceable(tmp_path / name, "result", lambda _: None)
    require_replaceable(tmp_path / "photos", "result", lambda folder: [path.name for path in folder.iterdir()])
    with pytest.raises(UserError, match="not empty and no earlier result"):
        require_replaceable(tmp_path / "photos", "result", lambda _: None)
    (tmp_path / "photos/1.jpg").write_text("another one")
    with pytest.raises(UserError, match=r"holds '1\.jpg', which is no part of the earlier result"):
        require_replaceable(tmp_path / "photos", "result", lambda _: ["0.jpg"])
    with pytest.raises(UserError, match="is a file"):
        require_replaceable(tmp_path / "photos/0.jpg", "result", lambda _: ["0.jpg"])
    with pytest.raises(UserError, match=r"0\.jpg is not a writable folder"):
        require_replaceable(tmp_path / "photos/0.jpg/out", "result", lambda _: ["0.jpg"])
    monkeypatch.chdir(tmp_path / "empty")
    with pytest.raises(UserError, match="current folder"):
        require_replaceable(Path(), "result", lambda _: ["0.jpg"])


def test_atomic_directory_restores_the_old_folder_when_the_new_one_cannot_replace_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The earlier result would be gone although the command failed."""
    path = tmp_path / "out"
    path.mkdir()
    (path / "old.txt").write_text("old")
    rename = Path.rename

    def refuse_the_new(self: Path, target: Path) -> Path:
        if self.suffix == ".tmp":
            raise OSError("stale file handle")
        return rename(self, target)

    monkeypatch.setattr("codetr.core.files.exchange", lambda *_: False)  # as on systems that cannot
    monkeypatch.setattr(Path, "rename", refuse_the_new)
    with pytest.raises(OSError, match="stale"), atomic_directory(path) as temporary:
        (temporary / "new.txt").write_text("new")
    assert names(path) == ["old.txt"]
    assert names(tmp_path) == ["out"]


def test_numbers_json_readers_refuse_are_the_users_error(tmp_path: Path) -> None:
    """Python converts integers of so many digits only; the rest would be a traceback."""
    (tmp_path / "long.json").write_text(f"[{'9' * 5000}]")
    with pytest.raises(UserError, match="not valid JSON"):
        read_json(tmp_path / "long.json")


def test_a_pipe_at_the_path_is_written_and_not_replaced(tmp_path: Path) -> None:
    """`--json /dev/null` as root replaced the device with a file."""
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    write_json(tmp_path / "pipe", {"a": 1}, indent=None)
    assert os.read(reader, 100) == b'{"a": 1}\n'
    os.close(reader)
    assert not (tmp_path / "pipe").is_file()


def test_a_file_is_not_replaced_by_a_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(NotADirectoryError), atomic_directory(tmp_path / "file"):
        pass
    assert (tmp_path / "file").read_text() == "x"


@pytest.mark.parametrize("writer", [atomic_file, atomic_directory])
def test_an_error_of_writing_names_the_result(tmp_path: Path, writer: Callable[[Path], Any]) -> None:
    """The system does not name the file in errors of write(), and "no space left" alone does not say where."""
    with pytest.raises(OSError, match="No space") as caught, writer(tmp_path / "x"):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert caught.value.filename == str(tmp_path / "x")
