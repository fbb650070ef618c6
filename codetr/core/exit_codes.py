"""Exit codes: how a command tells the scheduler that started it what to do next."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """Exit codes of `codetr`, of `python -m pipelines` and of the tasks of a pipeline.

    Any other code, e.g. Python's 1 after an uncaught exception or 137 after SIGKILL, is a failure as FAILED is.
    """

    OK = 0
    """The command has done its work."""

    FINDINGS = 1
    """`codetr doctor` has found what it was asked to fail on, or `codetr store verify` a damaged result."""

    MISTAKE = 2
    """The input or the settings are wrong. Do not retry: the result would be the same."""

    FAILED = 70
    """The run failed for another reason: a server, a time-out, a lost process. A retry may succeed."""

    PREEMPTED = 75
    """The run was asked to stop and has saved its state. Start it again to resume."""

    INTERRUPTED = 130
    """A person pressed Ctrl-C."""
