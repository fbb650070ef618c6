"""A registry's storage in a folder.

A registry needs two operations: create a small record whose name does not exist (exactly one of several writers
succeeds), and add an immutable folder of files. Object stores offer both, so the rest of the registry does not depend
on the kind of storage.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from codetr.core.errors import UserError
from codetr.core.files import read_regular_file, sync
from codetr.core.system.os_errors import reported_os_error, unreadable
from codetr.core.system.temporaries import remove_all_leftovers, temporary_directory, temporary_file


class FolderStorage:
    """Records and folders below a root folder, which may be on a shared file system (NFS).

    Keys are relative paths such as "journal/000001.json".
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def __str__(self) -> str:
        return str(self.root)

    def create(self, key: str, content: bytes) -> bool:
        """Create a record with its content, unless it exists.

        Returns:
            Whether this call created it; of concurrent calls exactly one does.

        Raises:
            UserError: the folder is not writable, or its file system has no hard links.
            RunFailed: the disk is full.
        """
        path = self.root / key
        remove_all_leftovers(path.parent)
        with self._reported(path), temporary_file(path) as temporary:
            temporary.write_bytes(content)
            sync(temporary)
            temporary.chmod(0o444)
            try:
                # A link appears with its content or not at all, and never replaces a file. A rename replaces files;
                # open(O_EXCL) creates them empty.
                os.link(temporary, path)
            except FileExistsError:
                # NFS may report this for the retry of a request that succeeded; then the file has two links.
                return temporary.stat().st_nlink == 2
            except OSError as error:
                if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK):
                    raise
                hint = "Keep the registry on a local disk or NFS."
                raise UserError("is on a file system without hard links", where=str(self.root), hint=hint) from None
            sync(path.parent)
            return True

    def read(self, key: str) -> bytes:
        """Return the content of a record.

        Raises:
            UserError: it does not exist or cannot be read.
        """
        try:
            return read_regular_file(self.root / key)
        except OSError as error:
            raise unreadable(error, self.root / key) from None

    def names(self, prefix: str) -> list[str]:
        """Return the sorted names of the records and folders directly below `prefix`, without those being written."""
        try:
            found = os.listdir(self.root / prefix)
        except FileNotFoundError:
            return []
        except OSError as error:
            raise unreadable(error, self.root / prefix) from None
        return sorted(name for name in found if not name.startswith("."))

    def add_folder(self, key: str, files: Mapping[str, Path]) -> None:
        """Add a folder with copies of `files`, by relative path, unless it exists.

        The folder appears atomically. Its files are read-only.

        Raises:
            UserError: a file cannot be read, or the folder is not writable.
            RunFailed: the disk is full.
        """
        path = self.root / key
        if path.is_dir():
            return
        remove_all_leftovers(path.parent)
        with self._reported(path, files.values()), temporary_directory(path) as temporary:
            temporary.chmod(0o755)
            for name, source in files.items():
                copy = temporary / name
                copy.parent.mkdir(parents=True, exist_ok=True)
                # A copy and not a hard link: a change of the original must not change the version.
                shutil.copyfile(source, copy)
                copy.chmod(0o444)
                sync(copy)
            for folder in {copy.parent for copy in temporary.rglob("*")}:
                sync(folder)
            try:
                temporary.rename(path)
            except OSError as error:
                # Another process has added the same folder; a rename never replaces one that is not empty.
                if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                    raise
                return
            sync(path.parent)

    def folder(self, key: str) -> Path:
        """Return the local path of a folder.

        Raises:
            UserError: it does not exist.
        """
        path = self.root / key
        if not path.is_dir():
            raise UserError("no such folder in the registry", where=str(path))
        return path

    @contextmanager
    def _reported(self, path: Path, sources: Collection[Path] = ()) -> Iterator[None]:
        """Name the record or folder, and not its temporary, in errors of the system; of the sources their names."""
        try:
            yield
        except OSError as error:
            reported = reported_os_error(error)
            if reported is None or error.filename in map(str, sources):
                raise
            problem = f"cannot be written to the registry: {error.strerror}"
            raise type(reported)(problem, where=str(path), hint=reported.hint) from None
