"""The error of one unreadable image."""

from __future__ import annotations

from codetr.core.errors import UserError


class BadImageError(UserError):
    """One image is gone, damaged or not the one that was prepared; it says nothing about the others."""
