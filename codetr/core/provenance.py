"""Who does something, and when: for records that people read."""

from __future__ import annotations

import getpass
import os
import socket
from datetime import UTC, datetime


def utc_now() -> str:
    """Return the time in UTC, to the second, as ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def user_and_host() -> str:
    """Return user and machine of this process; the user's number if it has no name, as in many containers."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"
