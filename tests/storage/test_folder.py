"""The storage of a registry on file systems that answer differently, and against other writers."""

from __future__ import annotations

import errno
import os
from collections import UserDict
from collections.abc import ItemsView
from pathlib import Path

import pytest

from codetr.core.errors import RunFailed, UserError
from codetr.storage.folder import FolderStorage


@pytest.fixture
def storage(tmp_path: Path) -> FolderStorage:
    (tmp_path / "registry/journal").mkdir(parents=True)
    return FolderStorage(tmp_path / "registry")


def test_of_two_writers_of_a_record_one_creates_it(storage: FolderStorage) -> None:
    """Both would believe that their entry is in the journal."""
    assert storage.create("journal/1", b"first")
    assert not storage.create("journal/1", b"second")
    assert storage.read("journal/1") == b"first"
    assert storage.names("journal") == ["1"]


def test_a_retry_of_nfs_is_no_other_writer(storage: FolderStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    """The client repeats a request whose answer was lost: the writer would take its record for that of another."""
    link = os.link

    def twice(source: Path, target: Path) -> None:
        link(source, target)
        link(source, target)

    monkeypatch.setattr(os, "link", twice)
    assert storage.create("journal/1", b"first")


@pytest.mark.parametrize(
    ("number", "kind", "said"),
    [
        (errno.EPERM, UserError, r"registry: is on a file system without hard links.*local disk or NFS"),
        (errno.EROFS, UserError, r"journal/1: cannot be written: Read-only file system"),
        (errno.ENOSPC, RunFailed, r"journal/1: cannot be written: No space left on device"),
        (errno.EIO, RunFailed, r"journal/1: .*Run the same command again"),
    ],
)
def test_a_link_that_fails_is_explained_and_leaves_nothing(
    storage: FolderStorage,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    kind: type[Exception],
    said: str,
) -> None:
    """FAT and some network file systems have no links: a traceback would not say what to do."""

    def fail(source: Path, target: Path) -> None:
        raise OSError(number, os.strerror(number), str(source))

    monkeypatch.setattr(os, "link", fail)
    with pytest.raises(kind, match=f"(?s){said}"):
        storage.create("journal/1", b"first")
    assert list((storage.root / "journal").iterdir()) == []


def test_a_file_instead_of_a_folder_of_records_is_no_empty_folder(storage: FolderStorage) -> None:
    """The next record would be taken for the first."""
    (storage.root / "versions").write_text("")
    with pytest.raises(UserError, match=r"registry/versions: cannot be read: not a directory"):
        storage.names("versions")
    assert storage.names("content") == []


class Overtaken(UserDict[str, Path]):
    """Files of a folder that another process adds while this one copies them."""

    def __init__(self, storage: FolderStorage, key: str, files: dict[str, Path]) -> None:
        super().__init__(files)
        self.storage, self.key = storage, key

    def items(self) -> ItemsView[str, Path]:
        self.storage.add_folder(self.key, dict(self))
        return super().items()


def test_a_folder_that_another_process_has_added_is_kept(storage: FolderStorage, tmp_path: Path) -> None:
    """Contents are addressed by their digest, so both are equal; the second writer must not fail or replace files."""
    (tmp_path / "weights").write_text("w")
    storage.add_folder("content/ab", Overtaken(storage, "content/ab", {"model/weights": tmp_path / "weights"}))
    assert (storage.folder("content/ab") / "model/weights").read_text() == "w"
    assert storage.names("content") == ["ab"]
    assert len(list((storage.root / "content").iterdir())) == 1, "nothing temporary is left"


def test_a_folder_that_is_missing_is_named(storage: FolderStorage) -> None:
    with pytest.raises(UserError, match="content/ab: no such folder"):
        storage.folder("content/ab")


def test_files_that_cannot_be_copied_and_folders_that_cannot_be_written_are_told_apart(
    storage: FolderStorage, tmp_path: Path
) -> None:
    """The message would blame the registry for a lost file, or the file for a registry that cannot be written."""
    with pytest.raises(FileNotFoundError, match=r"lost"):
        storage.add_folder("content/ab", {"weights": tmp_path / "lost"})
    (tmp_path / "weights").write_text("w")
    (storage.root / "full").write_text("")
    with pytest.raises(UserError, match="registry"):
        storage.add_folder("full/ab", {"weights": tmp_path / "weights"})
