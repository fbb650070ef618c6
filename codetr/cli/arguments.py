"""Arguments of the command line before any command reads them."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

from codetr.core.errors import UserError

_HOME = re.compile(r"((?:--?)?[\w.-]+=)?(~[\w.-]*)((?:/.*)?)", re.DOTALL)
_EMPTY = re.compile(r"(--[a-z][a-z-]*=)?")


def checked_arguments(given: Sequence[str]) -> list[str]:
    """Return the arguments with `~` and `~user` at the beginning of paths replaced by home folders.

    Shells replace them only where they are not quoted and no `=` precedes them; a folder `~` would be created.

    Raises:
        UserError: an argument is empty, which as a path would be the current folder; or there is no such user.
    """
    for position, argument in enumerate(given):
        if _EMPTY.fullmatch(argument):
            option = argument or next((name for name in given[max(position - 1, 0) : position] if name[0] == "-"), "")
            hint = "Is a variable of the shell not set? Write . for the current folder."
            raise UserError("an argument is empty", where=option.rstrip("=") or None, hint=hint)
    return [_expanded(argument) for argument in given]


def _expanded(argument: str) -> str:
    found = _HOME.fullmatch(argument)
    # `--set name=~` is YAML's null.
    if found is None or (found[1] and found[2] == "~" and not found[3]):
        return argument
    home = os.path.expanduser(found[2])
    if home == found[2]:
        hint = f"For a file of this name write {found[1] or ''}./{found[2]}{found[3]}."
        raise UserError(f"there is no user whose home folder is {found[2]}", where=argument, hint=hint)
    return f"{found[1] or ''}{home}{found[3]}"
