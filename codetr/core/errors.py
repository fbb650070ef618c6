"""Errors that are reported as a message, without a traceback.

Everything that reads input from outside (files, configuration, command lines) raises `UserError`; what fails although
the input is right raises `RunFailed`. The command line prints the message and exits with the error's code. A traceback
therefore always means a defect of codetr itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from difflib import get_close_matches
from typing import ClassVar

from codetr.core.exit_codes import ExitCode
from codetr.core.text import one_line


class ReportedError(Exception):
    """Base of the errors that the command line reports as a message.

    The message is one line, without secrets and control characters (`codetr.core.text`).

    Args:
        problem: what is wrong, naming the field and the value.
        where: the file, dotted configuration path or record it is about.
        hint: what to do; a full sentence.
    """

    exit_code: ClassVar[ExitCode]

    def __init__(self, problem: str, *, where: str | None = None, hint: str | None = None) -> None:
        self.problem = one_line(problem)
        self.where, self.hint = (None if text is None else one_line(text) for text in (where, hint))
        message = f"{self.where}: {self.problem}" if where else self.problem
        super().__init__(f"{message}. {self.hint}" if hint else message)


class UserError(ReportedError):
    """A mistake in the user's input; the same input fails again."""

    exit_code = ExitCode.MISTAKE


class RunFailed(ReportedError):  # noqa: N818, it names an end of a run, as schedulers do
    """A run that failed although its input is right: a server is away, time ran out, a process was lost."""

    exit_code = ExitCode.FAILED


class RunStopped(ReportedError):  # noqa: N818, as above
    """A run that was asked to stop and has saved its state; the same call resumes it."""

    exit_code = ExitCode.PREEMPTED


def similar_names(name: str, known: Iterable[str]) -> list[str]:
    """Return at most two of the known names that `name` may stand for, the most similar first.

    A name is similar if few letters differ, without regard to case and separators, or if it has all the parts of what
    was given, as `co_dino_5scale_r50_1x_coco` has those of `co-dino-r50`.

    Args:
        name: what was given.
        known: the names that exist.
    """
    given = _parts(name)
    by_text = {"_".join(_parts(other)): other for other in known}
    text = "_".join(given)
    close = get_close_matches(text, by_text, n=2, cutoff=_SIMILAR)
    swapped = [other for other in by_text if sorted(other) == sorted(text) and other not in close]
    longer = [other for other in by_text if len(text) > _SHORT and set(given) <= set(other.split("_"))]
    # Those with the fewest other parts.
    longer.sort(key=lambda other: len(other.split("_")))
    found = [*close, *swapped, *(other for other in longer if other not in close)]
    return [by_text[other] for other in found[:2]]


_SIMILAR = 0.72
"""Share of equal letters from which two names are similar; below, suggestions are mostly wrong."""

_SHORT = 2
"""Letters of a name that is too short for names that contain it to be suggested."""


def _parts(name: str) -> list[str]:
    return re.split(r"[\W_]+", name.lower().strip("-_ "))


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return "Did you mean 'a' or 'b'? " for the known names that are similar, see `similar_names`; else ""."""
    similar = similar_names(name, known)
    return f"Did you mean {' or '.join(map(repr, similar))}? " if similar else ""


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or its type if it has none or making the message fails."""
    text = ""
    with suppress(Exception):
        text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__


def listed(texts: Sequence[str], most: int, separator: str = ", ") -> str:
    """Join the first of many texts for a message of bounded length: `a, b and 7 more`.

    Args:
        texts: all of them.
        most: how many are shown.
        separator: between them; a message that is made of whole clauses has "; ".
    """
    shown = separator.join(texts[:most])
    if len(texts) <= most:
        return shown
    return f"{shown}{' ' if separator == ', ' else separator}and {len(texts) - most} more"
