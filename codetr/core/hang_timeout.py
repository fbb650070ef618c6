"""How long the processes of a run wait for one another before the run counts as hung.

A cluster's file sets it (`hang_minutes`), and the environment variable carries it to the processes.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from codetr.core.errors import UserError

HANG_TIMEOUT_VARIABLE = "CODETR_HANG_TIMEOUT"
"""Environment variable: seconds."""
HANG_TIMEOUT = 3600
"""Seconds: rank 0 measures validation metrics and writes checkpoints while the others wait."""


def hang_timeout(environment: Mapping[str, str] = os.environ) -> int:
    """Return the seconds that a process waits for the others in an exchange.

    Raises:
        UserError: the environment variable is no positive whole number.
    """
    text = environment.get(HANG_TIMEOUT_VARIABLE, str(HANG_TIMEOUT))
    if not text.isascii() or not text.isdecimal() or int(text) < 1:
        where = f"environment variable {HANG_TIMEOUT_VARIABLE}"
        raise UserError(f"is '{text}', expected a positive whole number of seconds", where=where)
    return int(text)
