"""Decide where symbolic links in the folders of a source may lead.

A link is followed when its target is in the same folder, in a folder that the user allows, or a cached object of the
DVC repository that contains the folder (DVC's `cache.type: symlink` replaces every tracked file by such a link). The
configuration of a repository is as untrusted as its content, so an object counts only if its content has the digest
that its name states: https://doc.dvc.org/user-guide/project-structure/internal-files#structure-of-the-cache-directory
"""

from __future__ import annotations

import configparser
import hashlib
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from codetr.core.errors import UserError
from codetr.core.files import refuse_unreadable
from codetr.core.system.os_errors import is_system_failure
from codetr.core.system.user_folders import user_folder

LINK_HINT = "To follow links to another folder, allow it with --link-targets FOLDER, or `link_targets` in params.yaml."

_OBJECT = re.compile(r"(?:files/md5/)?([0-9a-f]{2})/([0-9a-f]{30})")
"""A file in the cache of DVC 3, or of an earlier version without the prefix."""

_BLOCK = 1 << 20


@dataclass(frozen=True)
class LinkTargets:
    """Places outside of a folder to which links in it may lead.

    Attributes:
        folders: allowed by the user, resolved; also single files.
        dvc_caches: caches of the DVC repositories that contain the folders of the source, resolved.
    """

    folders: tuple[Path, ...] = ()
    dvc_caches: tuple[Path, ...] = ()

    @classmethod
    def of(cls, roots: Iterable[Path], allowed: Iterable[str | Path] = ()) -> Self:
        """Return the places for links in some folders.

        Args:
            roots: the folders with the links.
            allowed: folders that the user allows; files of them are read as if they were in `roots`.

        Raises:
            UserError: an allowed folder does not exist.
        """
        folders = []
        for folder in (Path(path).expanduser() for path in allowed):
            if not folder.exists():
                raise UserError("no such folder", where=f"link_targets: {folder}")
            folders.append(folder.resolve())
        caches = dict.fromkeys(cache for root in roots for cache in _dvc_caches(root))
        return cls(tuple(dict.fromkeys(folders)), tuple(caches))

    def allow(self, root: Path, target: Path) -> bool:
        """Return whether a link in `root` may lead to `target`; both are resolved."""
        if any(target.is_relative_to(folder) for folder in (root, *self.folders)):
            return True
        return any(target.is_relative_to(cache) and _is_object(cache, target) for cache in self.dvc_caches)


NO_TARGETS = LinkTargets()


@dataclass
class FolderFiles:
    """The files below a folder, also those of linked folders that may be followed.

    Attributes:
        names: paths relative to the root, with `/`, in alphabetical order; hidden files are included, the content of
            hidden folders is not.
        closed: linked folders that may not be followed.
    """

    names: list[str]
    closed: list[str]


def list_files(
    root: Path, folder: str | Path = ".", links: LinkTargets = NO_TARGETS, *, skip_unreadable: bool = False
) -> FolderFiles:
    """List the files below a folder; no folder is listed twice, whatever links lead to it.

    Args:
        root: the folder that names are relative to, resolved.
        folder: relative to the root.
        links: where links to folders may lead. Links to files are listed, wherever they lead.
        skip_unreadable: leave out folders that may not be read.

    Raises:
        UserError: a folder cannot be read, unless those are skipped.
        RunFailed: the disk or the server fails.
    """
    found = FolderFiles([], [])
    visited: set[Path] = set()
    pending = [root / folder]
    # Links come after all real folders, so that files are listed under their real names if they have one.
    while pending:
        linked: list[Path] = []
        for start in pending:
            for parent, folders, files in os.walk(
                start, onerror=_refuse_failed if skip_unreadable else refuse_unreadable
            ):
                real = Path(parent).resolve()
                if real in visited:
                    folders.clear()
                    continue
                visited.add(real)
                folders[:] = [name for name in folders if not name.startswith(".")]
                linked += [path for name in folders if (path := Path(parent) / name).is_symlink()]
                found.names += [(Path(parent) / name).relative_to(root).as_posix() for name in files]
        allowed = {path for path in linked if links.allow(root, path.resolve())}
        found.closed += sorted(path.relative_to(root).as_posix() for path in linked if path not in allowed)
        pending = sorted(allowed)
    found.names.sort()
    return found


def _refuse_failed(error: OSError) -> None:
    """Raise an error that `os.walk` passes to `onerror`, unless it concerns the one folder only."""
    if is_system_failure(error):
        refuse_unreadable(error)


def _has_dvc(folder: Path) -> bool:
    try:
        return (folder / ".dvc").is_dir()
    except PermissionError:  # reading the folder itself reports this
        return False


def _dvc_caches(folder: Path) -> list[Path]:
    """Return the cache folders of the DVC repository that contains a folder, in any of its configuration files.

    See https://doc.dvc.org/user-guide/project-structure/configuration; `cache.dir` is relative to the folder of `.dvc`.
    """
    folder = folder.absolute()
    repository = next((parent for parent in (folder, *folder.parents) if _has_dvc(parent)), None)
    if repository is None:
        return []
    settings = repository / ".dvc"
    configuration = user_folder("XDG_CONFIG_HOME", ".config")
    folders = [Path(os.environ.get("DVC_SYSTEM_CONFIG_DIR") or "/etc/xdg/dvc")]
    if given := os.environ.get("DVC_GLOBAL_CONFIG_DIR"):
        folders.append(Path(given))
    elif configuration is not None:
        folders.append(configuration / "dvc")
    files = [*(folder / "config" for folder in folders), settings / "config", settings / "config.local"]
    caches = [settings / "cache"]
    for file in files:
        parser = configparser.ConfigParser(interpolation=None, strict=False, allow_no_value=True)
        try:
            parser.read(file, encoding="utf-8")
            if value := (parser.get("cache", "dir", fallback=None) or "").strip("\"' "):
                caches.append(file.parent / Path(value).expanduser())
        except (OSError, UnicodeDecodeError, configparser.Error, RuntimeError):
            continue  # DVC itself reports a broken configuration, or a user that does not exist
    try:
        return [cache.resolve() for cache in caches]
    except (OSError, RuntimeError, ValueError):  # a loop of links, or a NUL
        return []


def _is_object(cache: Path, target: Path) -> bool:
    """Return whether a file is an object of a cache, with the MD5 digest that its name states."""
    name = _OBJECT.fullmatch(target.relative_to(cache).as_posix())
    if name is None or not target.is_file():
        return False
    digest, unix_digest = hashlib.md5(usedforsecurity=False), hashlib.md5(usedforsecurity=False)
    tail = b""
    with target.open("rb") as stream:
        while block := stream.read(_BLOCK):
            digest.update(block)
            # Before version 3, DVC converted the line ends of text files first.
            text, tail = tail + block, b""
            if text.endswith(b"\r"):
                text, tail = text[:-1], b"\r"
            unix_digest.update(text.replace(b"\r\n", b"\n"))
    unix_digest.update(tail)
    return name[1] + name[2] in (digest.hexdigest(), unix_digest.hexdigest())
