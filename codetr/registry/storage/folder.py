"""A registry's storage in a folder.

A registry needs two operations: create a small record whose name does not exist (exactly one of several writers
succeeds), and add an immutable folder of files. Object stores offer both, so the rest of the registry does not depend
on the kind of storage.
"""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from codetr.core.errors import UserError
from codetr.core.files import sync


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
            UserError: the disk is full or not writable, or its file system has no hard links.
        """
        path = self.root / key
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
        except OSError as error:
            raise UserError(f"cannot be written: {error.strerror}", where=str(path.parent)) from None
        temporary = Path(name)
        try:
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
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
        except OSError as error:
            raise UserError(f"cannot be written: {error.strerror}", where=str(path)) from None
        finally:
            temporary.unlink(missing_ok=True)

    def read(self, key: str) -> bytes:
        """Return the content of a record.

        Raises:
            UserError: it does not exist or cannot be read.
        """
        try:
            return (self.root / key).read_bytes()
        except OSError as error:
            raise UserError(f"cannot be read: {error.strerror}", where=str(self.root / key)) from None

    def names(self, prefix: str) -> list[str]:
        """Return the sorted names of the records and folders directly below `prefix`, without those being written."""
        try:
            found = os.listdir(self.root / prefix)
        except FileNotFoundError:
            return []
        except OSError as error:
            raise UserError(f"cannot be read: {error.strerror}", where=str(self.root / prefix)) from None
        return sorted(name for name in found if not name.startswith("."))

    def add_folder(self, key: str, files: Mapping[str, Path]) -> None:
        """Add a folder with copies of `files`, by relative path, unless it exists.

        The folder appears atomically. Its files are read-only.

        Raises:
            UserError: a file cannot be read, or the disk is full or not writable.
        """
        path = self.root / key
        if path.is_dir():
            return
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent))
        except OSError as error:
            raise UserError(f"cannot be written: {error.strerror}", where=str(path.parent)) from None
        try:
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
        except OSError as error:
            problem = f"cannot be copied into the registry: {error.strerror}"
            raise UserError(problem, where=str(error.filename or path)) from None
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    def folder(self, key: str) -> Path:
        """Return the local path of a folder.

        Raises:
            UserError: it does not exist.
        """
        path = self.root / key
        if not path.is_dir():
            raise UserError("no such folder in the registry", where=str(path))
        return path
