"""The one exception for mistakes a user can mend.

Everything that reads input from outside (files, configuration, command lines) raises `UserError`;
the command line prints it without a traceback and exits with code 2. A traceback therefore always
means a defect of codetr itself.
"""

from __future__ import annotations

from collections.abc import Sequence


class UserError(Exception):
    """A mistake in the user's input, with what to do about it.

    Args:
        problem: what is wrong, naming the field and the value.
        where: the file, dotted configuration path or record it is about.
        hint: what to do; a full sentence.
    """

    def __init__(self, problem: str, *, where: str | None = None, hint: str | None = None) -> None:
        self.problem, self.where, self.hint = problem, where, hint
        message = f"{where}: {problem}" if where else problem
        super().__init__(f"{message}. {hint}" if hint else message)


def listed(texts: Sequence[str], most: int, separator: str = ", ") -> str:
    """The first of many texts, for a message of bounded length: `a, b and 7 more`.

    Args:
        texts: all of them.
        most: how many are shown.
        separator: between them; a message that is made of whole clauses has "; ".
    """
    shown = separator.join(texts[:most])
    if len(texts) <= most:
        return shown
    return f"{shown}{' ' if separator == ', ' else separator}and {len(texts) - most} more"
