"""Resources of the system that run out are told apart from files that are wrong."""

from __future__ import annotations

import errno
import os
import resource
from pathlib import Path

import numpy as np
import pytest

from codetr.core.array_files import map_array
from codetr.core.errors import RunFailed, UserError
from codetr.core.exit_codes import ExitCode
from codetr.core.system.exhaustion import out_of_resources


def test_a_limit_of_this_process_is_a_mistake_and_one_of_the_machine_a_failure() -> None:
    """A scheduler that tries again would meet the same limit, but perhaps another machine."""
    mine = out_of_resources(OSError(errno.EMFILE, "Too many open files"), "reading images")
    assert isinstance(mine, UserError)
    assert "ulimit -n" in str(mine)
    machine = out_of_resources(OSError(errno.ENOMEM, "Cannot allocate memory"), "reading images")
    assert isinstance(machine, RunFailed)
    assert machine.exit_code == ExitCode.FAILED


def test_other_errors_are_reported_as_everywhere() -> None:
    """A scheduler would not repeat a run whose network file system was away while its images were read."""
    stale = out_of_resources(OSError(errno.ESTALE, "Stale file handle"), "reading images")
    assert isinstance(stale, RunFailed)
    assert stale.hint
    denied = out_of_resources(OSError(errno.EACCES, "Permission denied"), "reading images")
    assert isinstance(denied, UserError)
    assert isinstance(out_of_resources(OSError("unknown"), "reading images"), RunFailed)


def test_an_array_that_cannot_be_opened_for_want_of_descriptors_is_not_damaged(tmp_path: Path) -> None:
    """The advice to prepare the dataset again would help nothing."""
    np.save(tmp_path / "a.npy", np.arange(3))
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    probe = os.dup(0)
    os.close(probe)
    resource.setrlimit(resource.RLIMIT_NOFILE, (probe, limits[1]))
    try:
        with pytest.raises(UserError, match=r"a\.npy failed: Too many open files\. Raise the limit"):
            map_array(tmp_path / "a.npy", hint="Prepare again.")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
