"""What a kind of finding is: how `prepare` treats it, its severity, and what can be done about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Action = Literal["dropped", "repaired", "kept"]

Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")
"""An error loses data or falsifies metrics, a warning is likely to lower accuracy, a note is for information."""


@dataclass(frozen=True)
class FindingKind:
    """A kind of finding.

    Attributes:
        action: what `prepare` does with the record.
        severity: how serious it is.
        meaning: what was found and how it is handled, without a full stop.
        fix: what `doctor --fix` does with the record: "removed", "corrected", or nothing.
        advice: what a person can do about it, in full sentences, or nothing.
    """

    action: Action
    severity: Severity
    meaning: str
    fix: Literal["removed", "corrected", ""] = ""
    advice: str = ""
