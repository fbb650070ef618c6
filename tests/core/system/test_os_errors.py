"""Errors of the operating system: the path, the reason and what to do, with the exit code of their kind."""

from __future__ import annotations

import errno
import os
import resource
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
import torch

from codetr.core.array_files import map_array
from codetr.core.errors import RunFailed, UserError
from codetr.core.exit_codes import ExitCode
from codetr.core.files import atomic_file
from codetr.core.system.os_errors import (
    is_system_failure,
    loading_error,
    reported_os_error,
    underlying_error,
    unreadable,
)
from codetr.core.system.temporaries import temporary_directory

pytestmark = pytest.mark.fast


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.ENOSPC, RunFailed),
        (errno.EDQUOT, RunFailed),
        (errno.EIO, RunFailed),
        (errno.ENFILE, RunFailed),
        (errno.EMFILE, UserError),
        (errno.EACCES, UserError),
        (errno.EROFS, UserError),
        (errno.ENAMETOOLONG, UserError),
        (errno.EISDIR, UserError),
        (errno.ENOTDIR, UserError),
        (errno.ENOENT, UserError),
        (errno.ELOOP, UserError),
    ],
)
def test_an_error_is_a_failure_if_a_retry_may_help_and_else_a_mistake(number: int, kind: type) -> None:
    """A scheduler never repeats a mistake; a full disk may have space an hour later."""
    reported = reported_os_error(OSError(number, os.strerror(number), "some/file"))
    assert type(reported) is kind
    assert str(reported).startswith("some/file: cannot be read or written: ")
    assert reported is not None
    assert reported.hint


@pytest.mark.parametrize("number", sorted(errno.errorcode))
def test_every_error_of_a_file_is_a_message_with_its_reason_and_one_exit_code(number: int) -> None:
    """A file system may report any of them; EIO had exit code 2 in one place and 70 in another."""
    error = OSError(number, os.strerror(number), "some/file")
    errors = [reported_os_error(error), unreadable(error, "some/file")]
    if number not in (errno.EAGAIN, errno.ENOMEM, errno.ENOSPC):  # Loading names memory that is shared.
        errors.append(loading_error(error, "reading images"))
    assert len({type(reported) for reported in errors}) == 1
    for reported in errors:
        assert reported is not None
        assert reported.where == "some/file"
        named = number in (errno.ENOENT, errno.EISDIR) or os.strerror(number).lower() in str(reported).lower()
        assert named, "permission denied is not a missing file"


@pytest.mark.parametrize(
    ("number", "of_system"),
    [
        (errno.EIO, True),
        (errno.ESTALE, True),
        (errno.ENOMEM, True),
        (errno.EMFILE, True),
        (errno.EHOSTDOWN, True),
        (errno.EUCLEAN, True),
        (errno.EACCES, False),
        (errno.ENOENT, False),
        (errno.ENAMETOOLONG, False),
    ],
)
def test_failures_of_the_system_say_nothing_about_the_file(number: int, of_system: bool) -> None:
    """Thousands of sound images would be reported as unreadable while a server is away."""
    assert is_system_failure(OSError(number, os.strerror(number), "some/file")) is of_system


@pytest.mark.parametrize("error", [OSError("cannot identify image file"), OSError(99999, "unknown", "x")])
def test_an_error_of_a_library_is_a_defect(error: OSError) -> None:
    """Without a traceback it could not be reported."""
    assert reported_os_error(error) is None
    assert not is_system_failure(error)


def test_a_machine_without_a_folder_for_temporary_files_is_a_failure() -> None:
    """The error of `tempfile` has the number of a missing file: the message would ask to check a path."""
    error = FileNotFoundError(errno.ENOENT, "No usable temporary directory found in ['/tmp', '/var/tmp']")
    reported = reported_os_error(error)
    assert isinstance(reported, RunFailed)
    assert "TMPDIR" in str(reported)


def test_both_paths_of_a_rename_are_named() -> None:
    error = OSError(errno.EXDEV, "Invalid cross-device link", b"a\xe9", None, "b")
    assert "a\\udce9 -> b" in str(reported_os_error(error))


def test_a_limit_of_this_process_is_a_mistake_and_one_of_the_machine_a_failure() -> None:
    """A scheduler that tries again would meet the same limit, but perhaps another machine."""
    mine = loading_error(OSError(errno.EMFILE, "Too many open files"), "reading images")
    assert isinstance(mine, UserError)
    assert "ulimit -n" in str(mine)
    machine = loading_error(OSError(errno.ENOMEM, "Cannot allocate memory"), "reading images")
    assert isinstance(machine, RunFailed)
    assert machine.exit_code == ExitCode.FAILED
    assert isinstance(loading_error(OSError("unknown"), "reading images"), RunFailed)


def test_an_array_that_cannot_be_opened_for_want_of_descriptors_is_not_damaged(tmp_path: Path) -> None:
    """The advice to prepare the dataset again would help nothing."""
    np.save(tmp_path / "a.npy", np.arange(3))
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    probe = os.dup(0)
    os.close(probe)
    resource.setrlimit(resource.RLIMIT_NOFILE, (probe, limits[1]))
    try:
        with pytest.raises(UserError, match=r"a\.npy: cannot be read: too many open files\. .*ulimit -n"):
            map_array(tmp_path / "a.npy", hint="Prepare again.")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


@pytest.mark.parametrize(
    ("message", "number"),
    [
        ("I/O error: No space left on device (os error 28)", errno.ENOSPC),
        ("I/O error: File name too long (os error 36)", errno.ENAMETOOLONG),
    ],
)
def test_libraries_in_rust_that_could_not_write_are_recognised(message: str, number: int) -> None:
    """safetensors raises an error of its own when the disk is full."""
    found = underlying_error(RuntimeError(message))
    assert isinstance(found, OSError)
    assert found.errno == number
    defect = RuntimeError("shapes differ")
    assert underlying_error(defect) is defect


def test_why_pytorch_could_not_write_is_not_guessed(tmp_path: Path) -> None:
    """Every failure of its writer was called a full disk, also on one that is almost empty."""
    file = tmp_path / "model.pth"
    file.write_bytes(b"x" * 5000)
    error = RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 34496 vs 34390")
    unknown = underlying_error(error, file)
    assert isinstance(unknown, RunFailed)
    assert "unexpected pos" in str(unknown)
    assert str(file) in str(unknown)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5000, limits[1]))
    try:
        limited = underlying_error(error, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert isinstance(limited, OSError)
    assert limited.errno == errno.EFBIG


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_what_a_stream_reports_is_found_behind_pytorchs_error() -> None:
    with Path("/dev/full").open("wb", buffering=0) as stream, pytest.raises((RuntimeError, OSError)) as raised:
        torch.save({"a": torch.zeros(100_000)}, stream)
    found = underlying_error(raised.value)
    assert isinstance(found, OSError)
    assert found.errno == errno.ENOSPC


@pytest.mark.parametrize("by_stream", [True, False])
def test_a_limit_of_file_sizes_is_named(tmp_path: Path, by_stream: bool) -> None:
    def write() -> None:
        with atomic_file(tmp_path / "a.pth") as temporary, ExitStack() as stack:
            target = stack.enter_context(temporary.open("wb")) if by_stream else temporary
            torch.save({"a": torch.zeros(100_000)}, target)

    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large") as raised:
            write()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    reported = reported_os_error(raised.value)
    assert reported is not None
    assert "ulimit -f" in str(reported)
    assert reported.where == str(tmp_path / "a.pth")


def test_a_temporary_is_named_as_the_result_beside_it(tmp_path: Path) -> None:
    """Its name says nothing to anybody, and it is gone when the message is read."""
    with temporary_directory(tmp_path / "model") as temporary:
        name = str(temporary / "model.safetensors")
        assert ".tmp" in name
        error = OSError(errno.ENOSPC, "No space left on device", name)
        assert str(reported_os_error(error)).startswith(f"{tmp_path}/model/model.safetensors: ")
