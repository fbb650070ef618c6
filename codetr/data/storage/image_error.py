"""The error for one unreadable image."""

from __future__ import annotations

from codetr.core.errors import UserError


class BadImageError(UserError):
    """One image is missing, damaged or not the one that was prepared; other images may be fine."""
