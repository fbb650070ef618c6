"""Durations as text."""

from __future__ import annotations

from codetr.core.text import counted


def format_duration(seconds: float) -> str:
    """Format seconds as h:mm:ss."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}"


def describe_duration(seconds: float) -> str:
    """Describe a rough duration in the largest unit that fits twice: "90 seconds", "9 minutes", "3 days"."""
    for unit, size in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds >= 2 * size:
            return counted(round(seconds / size), unit)
    return counted(round(seconds), "second")
