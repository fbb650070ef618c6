"""The error for one unreadable image, and what to do about it."""

from __future__ import annotations

from codetr.core.errors import UserError

PREPARE_AGAIN = "Run `codetr prepare` again."
"""What to do about a damaged or changed file of a dataset."""


class BadImageError(UserError):
    """One image is missing, damaged or not the one that was prepared; other images may be fine."""
