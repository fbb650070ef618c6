"""Errors of the operating system: the path, the reason and what to do, with the exit code of their kind."""

from __future__ import annotations

import errno
import os

import pytest

from codetr.core.errors import RunFailed, UserError
from codetr.core.system.os_errors import reported_os_error, underlying_os_error

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


@pytest.mark.parametrize("error", [OSError("cannot identify image file"), OSError(99999, "unknown", "x")])
def test_an_error_of_a_library_is_a_defect(error: OSError) -> None:
    """Without a traceback it could not be reported."""
    assert reported_os_error(error) is None


def test_both_paths_of_a_rename_are_named() -> None:
    error = OSError(errno.EXDEV, "Invalid cross-device link", b"a\xe9", None, "b")
    assert "a\\udce9 -> b" in str(reported_os_error(error))


@pytest.mark.parametrize(
    ("message", "number"),
    [
        ("I/O error: No space left on device (os error 28)", errno.ENOSPC),
        ("I/O error: File name too long (os error 36)", errno.ENAMETOOLONG),
        ("[enforce fail at inline_container.cc:672] . unexpected pos 34496 vs 34390", errno.ENOSPC),
        ("PytorchStreamWriter failed writing file data/0: file write failed", errno.ENOSPC),
    ],
)
def test_libraries_that_could_not_write_are_recognised(message: str, number: int) -> None:
    """PyTorch and safetensors raise errors of their own when the disk is full."""
    found = underlying_os_error(RuntimeError(message))
    assert found is not None
    assert found.errno == number
    assert underlying_os_error(RuntimeError("shapes differ")) is None


def test_a_temporary_is_named_as_the_result_beside_it() -> None:
    """Nobody knows `.model.k3x9_a2b.tmp`, and it is gone when the message is read."""
    error = OSError(errno.ENOSPC, "No space left on device", "outputs/.model.k3x9_a2b.tmp/model.safetensors")
    assert str(reported_os_error(error)).startswith("outputs/model/model.safetensors: ")
