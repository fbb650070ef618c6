"""Resolve file names from annotation files, which are untrusted, inside a folder and never outside it."""

from __future__ import annotations

import errno
import os
import re
import stat
import unicodedata
from pathlib import Path, PurePosixPath, PureWindowsPath
from urllib.parse import quote, unquote, unquote_plus

from codetr.data.storage.links import NO_TARGETS, LinkTargets

_URL = re.compile(r"^[a-zA-Z][a-zA-Z0-9+.-]*://")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_NO_SUCH_FILE = (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG)
"""No file can have a name that is too long."""


class UnsafePathError(ValueError):
    """The name must not be followed; the message says why."""


class NoFileError(ValueError):
    """The name is safe, but there is no such file."""


def resolve_file(root: Path, name: str, links: LinkTargets = NO_TARGETS) -> str:
    """Find the file that an annotation file calls `name`.

    The name as given is tried first, then the other ones of `spelling_variants`. `..` is followed as long as it stays
    inside, and symbolic links as long as they stay inside or lead to an allowed place.

    Args:
        root: the folder that names are relative to, resolved; usually the image folder.
        name: the name, untrusted.
        links: where links may lead.

    Returns:
        The path relative to `root`, with `/` as separator; not equal to `name` if another spelling was found.

    Raises:
        UnsafePathError: absolute, a URL, with control characters, or leading out of the folder.
        NoFileError: there is no such file, or it is a folder.
        OSError: this cannot be found out: permission is denied, links form a circle, the disk or the server fails.
    """
    require_safe_name(name)
    for spelling in spelling_variants(name):
        relative = _inside(root, spelling, links)
        if relative is not None:
            return relative
    raise NoFileError("no such file")


def file_exists(root: Path, name: str, links: LinkTargets = NO_TARGETS) -> bool:
    """Return whether `resolve_file` finds a file, with its `OSError`."""
    try:
        resolve_file(root, name, links)
    except (NoFileError, UnsafePathError):
        return False
    return True


def require_safe_name(name: str) -> None:
    """Raise `UnsafePathError` if a name is absolute, a URL or not plain text; `..` is not checked here."""
    try:
        name.encode()
    except UnicodeEncodeError:
        raise UnsafePathError("is not valid Unicode") from None
    if _CONTROL.search(name):
        raise UnsafePathError("has control characters")
    if is_url(name):
        raise UnsafePathError("is a URL")
    if PurePosixPath(name).is_absolute() or PureWindowsPath(name).drive or name.startswith("\\"):
        raise UnsafePathError("is absolute")


def is_url(name: str) -> bool:
    """Return whether a text is an address, such as https://host/a.jpg, and not a path."""
    return _URL.match(name) is not None


def spelling_variants(name: str) -> list[str]:
    """Return a name as given, then other spellings of it, all of them safe if the name is.

    They have `/` for backslashes, percent-encoding decoded (Label Studio writes blanks, colons and accents so) or
    encoded, no blanks at the ends, and the Unicode normal forms NFC and NFD.
    """
    names = [name, name.replace("\\", "/")]
    if _is_encodable(name):
        decoded = _decoded(name)
        names += [*decoded, *(candidate.replace("\\", "/") for candidate in decoded)]
        names += [quote(candidate, safe="/") for candidate in names[:2]]
    names += [unicodedata.normalize(form, candidate) for form in ("NFC", "NFD") for candidate in tuple(names)]
    return list(dict.fromkeys(names))


def resolved(path: Path) -> Path:
    """Return the absolute path without symbolic links, also if there is no such file.

    Raises:
        OSError: the links form a circle.
    """
    try:
        return path.resolve()
    except RuntimeError:  # before Python 3.13
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path)) from None


def is_file(path: Path) -> bool:
    """Return whether there is a regular file; unlike `Path.is_file`, with an error if that cannot be found out.

    Raises:
        OSError: a folder may not be entered, or the disk or the server fails.
    """
    mode = _mode(path)
    return mode is not None and stat.S_ISREG(mode)


def exists(path: Path) -> bool:
    """Return whether there is a file or a folder; see `is_file`."""
    return _mode(path) is not None


def _mode(path: Path) -> int | None:
    try:
        return path.stat().st_mode
    except ValueError:  # a NUL
        return None
    except OSError as error:
        if error.errno in _NO_SUCH_FILE:
            return None
        raise


def _decoded(name: str) -> list[str]:
    """Return a name decoded once, twice, with `+` for blanks, and without blanks at its ends, where that is safe."""
    found = []
    for decode in (unquote, lambda text, **_: unquote(unquote(text)), unquote_plus, lambda text, **_: text.strip()):
        try:
            decoded = decode(name, errors="strict")
            require_safe_name(decoded)
        except (UnicodeDecodeError, UnsafePathError):
            continue
        found.append(decoded)
    return found


def _is_encodable(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _inside(root: Path, name: str, links: LinkTargets) -> str | None:
    upwards = ".." in PurePosixPath(name).parts
    target = resolved(root / name)
    if not target.is_relative_to(root):
        if upwards:
            raise UnsafePathError("leads out of the image folder")
        if not links.allow(root, target):
            raise UnsafePathError("leads out of the image folder, by a link that --link-targets could allow")
    if not is_file(target):
        return None
    # A link keeps its name; `..` needs the real path, since links come before it.
    return target.relative_to(root).as_posix() if upwards else PurePosixPath(name).as_posix()
