"""The failure of a step as a file, for a runner that learns only that a task failed.

Kubeflow's local runner reports neither the exit code nor the message of a failed task. Where the environment variable
CODETR_FAILURE_FILE names a file, the step writes both there.
"""

from __future__ import annotations

import os
from pathlib import Path

from codetr.core.files import read_json, write_json
from codetr.core.settings import Settings

FAILURE_FILE_VARIABLE = "CODETR_FAILURE_FILE"


class Failure(Settings):
    """How a step failed.

    Attributes:
        exit_code: of the step's process.
        message: for people.
    """

    exit_code: int
    message: str


def write_failure(exit_code: int, message: str) -> None:
    """Write the failure to the file in CODETR_FAILURE_FILE, unless the variable is not set or the file exists.

    The first report of a failure is the one of the process that failed; those of its parents follow.
    """
    name = os.environ.get(FAILURE_FILE_VARIABLE)
    if name and not Path(name).exists():
        write_json(Path(name), Failure(exit_code=exit_code, message=message).model_dump())


def read_failure(path: Path) -> Failure | None:
    """Return the failure that was written to `path`; None if no file was written."""
    return Failure.parse(read_json(path), where=str(path)) if path.exists() else None
