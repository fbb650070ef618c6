"""Remembered digests: an unchanged file is read once, and a changed one always again."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from codetr.core.files import sha256_file
from codetr.weights.digest_cache import cached_digest


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "weights"
    path.write_bytes(b"a" * 1000)
    os.utime(path, (1, 1))
    return path


def digest(file: Path) -> str:
    return cached_digest(file, cache=file.parent / "caches" / "digests.json", smallest=1)


def remember(file: Path, value: str) -> None:
    """Replace what is remembered of the file, with its present identity."""
    status = file.stat()
    identity = [status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns]
    cache = file.parent / "caches" / "digests.json"
    cache.parent.mkdir(exist_ok=True)
    cache.write_text(json.dumps({str(file): [*identity, value]}))


def test_an_unchanged_file_is_not_read_again(file: Path) -> None:
    remember(file, "sha256:remembered")
    assert digest(file) == "sha256:remembered"
    assert cached_digest(file, cache=file.parent / "caches" / "digests.json") == sha256_file(file)


def test_a_file_that_changed_just_now_is_not_remembered(file: Path) -> None:
    """Clocks of file systems are coarse: another change in the same moment would go unnoticed."""
    assert digest(file) == sha256_file(file)
    assert not (file.parent / "caches").exists()


@pytest.mark.parametrize("keep_times", [True, False])
def test_a_changed_file_is_read_again(file: Path, keep_times: bool) -> None:
    """One flipped byte, even with the time of the change put back."""
    remember(file, "sha256:remembered")
    content = bytearray(file.read_bytes())
    content[500] ^= 1
    file.write_bytes(content)
    if keep_times:
        os.utime(file, (1, 1))
    assert digest(file) == sha256_file(file)


def test_a_replaced_file_is_read_again(file: Path) -> None:
    remember(file, "sha256:remembered")
    other = file.with_name("other")
    other.write_bytes(b"b" * 1000)
    os.utime(other, (1, 1))
    other.replace(file)
    assert digest(file) == sha256_file(file)


@pytest.mark.parametrize("content", ["", "[]", "nonsense", '{"x": 3}', '{"PATH": [1, 2]}', "[" * 100_000])
def test_a_damaged_cache_is_ignored(file: Path, content: str) -> None:
    cache = file.parent / "caches" / "digests.json"
    cache.parent.mkdir()
    cache.write_text(content.replace("PATH", str(file)))
    assert digest(file) == sha256_file(file)


def test_a_cache_that_cannot_be_written_is_ignored(file: Path) -> None:
    assert cached_digest(file, cache=file / "digests.json", smallest=1) == sha256_file(file)
