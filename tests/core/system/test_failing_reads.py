"""A disk that fails while a file is read: the error of the machine, whatever was to be read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from codetr.core.array_files import map_array
from codetr.core.errors import RunFailed, UserError
from codetr.core.files import read_json
from codetr.core.yaml_text import read_yaml
from codetr.data.formats.coco import read_coco_json
from codetr.data.formats.text_files import TextFiles
from codetr.data.images import read_header, read_image
from codetr.data.storage.paths import resolve_file
from codetr.storage.folder import FolderStorage
from codetr.weights.foreign_file import read_foreign
from codetr.weights.official.class_names import read_names
from tests.support.unprivileged import unprivileged_folder

FAILING = Path("/proc/self/mem")
"""A regular file of which the first byte cannot be read: an I/O error."""

READERS: dict[str, Callable[[Path], object]] = {
    "json": read_json,
    "yaml": read_yaml,
    "coco": read_coco_json,
    "array": lambda path: map_array(path, hint="Make it again."),
    "image": read_image,
    "header": read_header,
    "text": lambda path: TextFiles(path.parent.resolve()).read(path.name),
    "registry": lambda path: FolderStorage(path.parent).read(path.name),
    "weights": read_foreign,
    "class names": read_names,
}


@pytest.mark.skipif(not FAILING.exists(), reason="needs a file that fails")
@pytest.mark.parametrize("name", READERS)
def test_an_io_error_has_the_exit_code_of_the_machine(name: str) -> None:
    """Images that a failing disk hid were dropped from datasets, and schedulers never tried again."""
    with pytest.raises(RunFailed, match="input/output error") as raised:
        READERS[name](FAILING)
    assert "mem" in str(raised.value)


@pytest.mark.parametrize("name", sorted(READERS.keys() - {"text"}))
def test_a_file_that_may_not_be_read_is_not_missing(name: str) -> None:
    with unprivileged_folder() as folder:
        path = folder / "file"
        path.write_text("x")
        path.chmod(0)
        with pytest.raises((UserError, PermissionError), match=r"(?i)permission denied"):
            READERS[name](path)


def test_a_text_that_may_not_be_read_is_one_of_the_problems() -> None:
    """All files of a source that cannot be used are reported together."""
    with unprivileged_folder() as folder:
        for name in "ab":
            (folder / name).touch(mode=0)
        files = TextFiles(folder.resolve())
        assert [files.read(name) for name in "ab"] == [None, None]
        assert files.problems == [f"{name} cannot be read: permission denied" for name in "ab"]


def test_names_in_a_folder_that_may_not_be_entered_are_not_missing() -> None:
    """Images of a private folder were reported as images that do not exist."""
    with unprivileged_folder() as folder:
        (folder / "private").mkdir()
        (folder / "private" / "a.jpg").touch()
        (folder / "private").chmod(0)
        for spelling in ("private/a.jpg", "private\\a.jpg"):
            with pytest.raises(PermissionError):
                resolve_file(folder.resolve(), spelling)
        (folder / "private").chmod(0o700)
