"""Make text from outside safe to show: secrets are masked, control characters are escaped.

Messages contain what others chose: names of files and classes, answers of servers, addresses with passwords. Every
error, log record and table cell passes through this module before it is shown (`codetr.core.errors`, `codetr.cli`).
"""

from __future__ import annotations

import logging
import os
import re
import sys
import traceback
import warnings
from collections.abc import Iterator, Mapping
from types import TracebackType
from urllib.parse import quote

MASK = "***"

_SECRET_VARIABLE = re.compile(r"TOKEN|SECRET|PASSWORD|PASSWD|API_?KEY|ACCESS_KEY|CREDENTIAL")
_NO_SECRET_VARIABLE = re.compile(r"_(ID|FILE|PATH|URI|URL|NAME)$|^CODETR_")
_SHORTEST_SECRET = 6
"""Shorter values are not masked: they occur in ordinary words."""

_LONGEST = 1 << 16
"""Characters of a text that is shortened in which secrets are looked for; only far fewer are shown."""

_PASSWORD = re.compile(r"\A[a-z][a-z0-9+.-]*://([^/?#]*?:)?(.*)@[^@]*\Z", re.IGNORECASE | re.DOTALL)
"""The user and the password of an address that is a value of its own, which may hold any character."""

# A scheme is looked for at the start of a run of its characters only: in a long word, that is once and not at each one.
_SCHEME = r"(?<![a-z0-9+.-])([a-z0-9+.-]+://)"
_USER_INFO = re.compile(_SCHEME + r"([^\s/?#]*)@", re.IGNORECASE)
_PASSWORD_WITH_SLASH = re.compile(_SCHEME + r"[^\s/:@]*:(?!\d*/)[^\s'\"]*@", re.IGNORECASE)
_BEARER = re.compile(r"\b(Bearer|Basic)\s+(?=\S*[\d._~+/=-])[^\s'\",;]{6,}", re.IGNORECASE)
_QUERY = re.compile(
    r"([?&][^=&\s?]*(?:token|secret|password|signature|credential|api_?key|\bsig)[^=&\s]*=)[^&\s'\")]+", re.IGNORECASE
)
_UNPRINTABLE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff]"
)
"""C0 and C1 controls, characters that are invisible or change the direction of text, and bytes that are not UTF-8."""

_secrets: set[str] = set()


def register_secret(value: str | None) -> None:
    """Mask a value, e.g. of an option, in everything that is shown from now on."""
    if value and len(value.strip()) >= _SHORTEST_SECRET:
        _secrets.add(value)


def mask_secrets(text: str, environment: Mapping[str, str] = os.environ) -> str:
    """Return a text with `***` for every secret in it.

    Secrets are values that were registered, values of environment variables whose names say so (AWS_SESSION_TOKEN,
    KFP_TOKEN, WANDB_API_KEY, …), users and passwords in addresses, bearer tokens, and signatures in queries of
    addresses.
    """
    for secret in sorted(_spellings(environment), key=len, reverse=True):
        text = text.replace(secret, MASK)
    text = _USER_INFO.sub(_masked_user, text)
    text = _PASSWORD_WITH_SLASH.sub(rf"\1{MASK}@", text)
    text = _BEARER.sub(rf"\1 {MASK}", text)
    return _QUERY.sub(rf"\1{MASK}", text)


def printable(text: str, *, keep: str = "") -> str:
    r"""Return a text with escapes, e.g. `\x1b` or `\n`, for control characters, except those in `keep`."""
    return _UNPRINTABLE.sub(lambda found: found[0] if found[0] in keep else _escape(found[0]), text)


def one_line(value: object) -> str:
    """Return a value as text that can be shown: one line, without secrets and control characters."""
    return printable(mask_secrets(str(value)))


def several_lines(text: str) -> str:
    """Return a text of several lines that can be shown; only its first line begins at the margin.

    So a line break in a name cannot imitate another record of a log.
    """
    return printable(mask_secrets(text), keep="\n\t").replace("\n", "\n  ")


def shorten(text: str, length: int = 80) -> str:
    """Return a text of at most `length` characters for a message.

    Secrets are masked first: what is left of one that is cut would not be recognised.
    """
    text = mask_secrets(text[:_LONGEST])
    return text if len(text) <= length else f"{text[: length - 3]}..."


def counted(count: int, noun: str) -> str:
    """Return a number with its noun: `1 image`, `2 images`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


class SafeFormatter(logging.Formatter):
    """Formats log records as text that can be shown."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as text, see `several_lines`."""
        return several_lines(super().format(record))


def show_safely() -> None:
    """Mask secrets and escape control characters in warnings and in tracebacks of this process."""

    def show_exception(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        text = "".join(traceback.format_exception(kind, error, trace))
        sys.stderr.write(printable(mask_secrets(text), keep="\n\t"))

    def format_warning(
        message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
    ) -> str:
        return f"{category.__name__}: {several_lines(str(message))}\n"

    sys.excepthook = show_exception
    warnings.formatwarning = format_warning


def _spellings(environment: Mapping[str, str]) -> Iterator[str]:
    """Yield every secret as it is, as Python writes it in messages, and as it is written in an address."""
    found = set(_secrets)
    for name, value in environment.items():
        if _SECRET_VARIABLE.search(name.upper()) and not _NO_SECRET_VARIABLE.search(name.upper()):
            found.add(value)
        elif "://" in value and (password := _PASSWORD.match(value)):
            found.add(password[2])
    for secret in found:
        lines = [line.strip() for line in secret.splitlines()]
        for part in (secret, *lines):
            if len(part.strip()) >= _SHORTEST_SECRET:
                yield from (part, repr(part)[1:-1], repr(part.encode())[2:-1], quote(part, safe=""))


def _masked_user(found: re.Match[str]) -> str:
    # The user of `ssh://git@host` says nothing; a single part of an https:// address is a token.
    keeps = found[1].lower() in ("ssh://", "git+ssh://") and ":" not in found[2]
    return found[0] if keeps else f"{found[1]}{MASK}@"


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode()
