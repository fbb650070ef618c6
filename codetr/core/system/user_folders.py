"""Folders of the user, who may have none: a container may run with a user id of no account, and without HOME."""

from __future__ import annotations

import os
from pathlib import Path


def user_folder(variable: str, default: str) -> Path | None:
    """Return a folder of the user; None if there is no home folder.

    Args:
        variable: environment variable that names it, e.g. XDG_CACHE_HOME.
        default: its path in the home folder, e.g. .cache.
    """
    if given := os.environ.get(variable):
        return Path(given)
    try:
        return Path.home() / default
    except RuntimeError:
        return None
