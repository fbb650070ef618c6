"""A storage in a folder, which may be on a shared file system (NFS)."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from codetr.core.errors import UserError
from codetr.core.files import read_regular_file, sync
from codetr.core.system.os_errors import reported_os_error, unreadable
from codetr.core.system.temporaries import remove_all_leftovers, temporary_directory, temporary_file
from codetr.storage.storage import NoObjectError, StoredObject


class FolderStorage:
    """Objects and folders of objects below a root folder."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def __str__(self) -> str:
        return str(self.root)

    def create(self, key: str, content: bytes) -> bool:
        """Create an object with its content, unless it exists.

        Returns:
            Whether this call created it; of concurrent calls exactly one does.

        Raises:
            UserError: the folder is not writable, or its file system has no hard links.
            RunFailed: the disk is full.
        """

        def write(temporary: Path) -> None:
            temporary.write_bytes(content)

        return self._create(key, write)

    def upload(self, key: str, file: Path) -> bool:
        """Create an object with a copy of a file, unless it exists; see `create`.

        Raises:
            OSError: the file cannot be read.
        """
        if (self.root / key).exists():
            return False

        def copy(temporary: Path) -> None:
            # A copy and not a hard link: a change of the original must not change the object.
            shutil.copyfile(file, temporary)

        return self._create(key, copy, sources=(file,))

    def read(self, key: str) -> bytes:
        """Return the content of an object.

        Raises:
            NoObjectError: it does not exist.
            UserError: it cannot be read.
        """
        try:
            return read_regular_file(self.root / key)
        except FileNotFoundError:
            raise NoObjectError("there is no such file", where=str(self.root / key)) from None
        except OSError as error:
            raise unreadable(error, self.root / key) from None

    def download(self, key: str, file: Path) -> None:
        """Copy an object into a new file.

        A copy and not a hard link: who changes the file must not change the object.

        Raises:
            NoObjectError: the object does not exist.
            OSError: the file cannot be written.
        """
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            shutil.copyfile(self.root / key, file)
        except OSError as error:
            if error.filename != str(self.root / key):
                raise
            if isinstance(error, FileNotFoundError):
                raise NoObjectError("there is no such file", where=str(self.root / key)) from None
            raise unreadable(error, self.root / key) from None

    def names(self, prefix: str) -> list[str]:
        """Return the sorted names of the objects and folders directly below `prefix`, without those being written."""
        try:
            found = os.listdir(self.root / prefix)
        except FileNotFoundError:
            return []
        except OSError as error:
            raise unreadable(error, self.root / prefix) from None
        return sorted(name for name in found if not name.startswith("."))

    def objects(self, prefix: str) -> Iterator[StoredObject]:
        """Yield all objects below `prefix`, in the order of their keys, without those being written."""
        for name in self.names(prefix):
            key = f"{prefix}/{name}" if prefix else name
            if (self.root / key).is_dir():
                yield from self.objects(key)
                continue
            try:
                status = (self.root / key).stat()
            except FileNotFoundError:  # removed in between
                continue
            yield StoredObject(key, status.st_size, status.st_mtime)

    def delete(self, key: str) -> None:
        """Remove an object, if it exists."""
        with self._reported(self.root / key, "removed"):
            (self.root / key).unlink(missing_ok=True)

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
        with self._reported(path, sources=files.values()), temporary_directory(path) as temporary:
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
            raise UserError("no such folder", where=str(path))
        return path

    def _create(self, key: str, write: Callable[[Path], None], *, sources: Collection[Path] = ()) -> bool:
        path = self.root / key
        remove_all_leftovers(path.parent)
        with self._reported(path, sources=sources), temporary_file(path) as temporary:
            write(temporary)
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
                hint = "Use a folder on a local disk or NFS."
                raise UserError("is on a file system without hard links", where=str(self.root), hint=hint) from None
            sync(path.parent)
            return True

    @contextmanager
    def _reported(self, path: Path, done: str = "written", *, sources: Collection[Path] = ()) -> Iterator[None]:
        """Name the object or folder, and not its temporary, in errors of the system; of the sources their names."""
        try:
            yield
        except OSError as error:
            reported = reported_os_error(error)
            if reported is None or error.filename in map(str, sources):
                raise
            raise type(reported)(f"cannot be {done}: {error.strerror}", where=str(path), hint=reported.hint) from None
