"""Ids, names and paths from outside: everything usable is used, nothing outside the image folder is opened."""

from __future__ import annotations

import errno
import os
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codetr.core.errors import UserError
from codetr.data.formats.coco import CocoFile
from codetr.data.formats.coco_columns import RawAnnotations
from codetr.data.ingest.categories import read_categories, read_frequencies, unique_names
from codetr.data.ingest.image_list import read_image_entries
from codetr.data.lvis import Frequency, Verified
from codetr.data.storage.paths import NoFileError, UnsafePathError, resolve_file
from codetr.data.validation.findings import Findings
from codetr.data.validation.ids import ListedIds, as_integer


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (7, 7),
        (0, 0),
        (-3, -3),
        (2**53 + 1, 2**53 + 1),
        (2**62 - 1, 2**62 - 1),
        (2**62, None),
        (" 12 ", 12),
        ("-5", -5),
        ("1.5", None),
        ("٣", 3),
        ("²", None),
        ("9" * 30, None),
        (4.0, 4),
        (4.5, None),
        (1e300, None),
        (float("nan"), None),
        (True, None),
        (None, None),
        ([1], None),
    ],
)
def test_as_integer(value: Any, expected: int | None) -> None:
    assert as_integer(value) == expected


def test_text_ids_get_free_numbers_everywhere_the_same() -> None:
    ids = ListedIds(["b", 5, "a", "7", "b", None, ""])
    assert [ids.resolve(value) for value in ("b", "a", "7", 5, "5", "c", None, "")] == [8, 9, 7, 5, 5, None, None, None]


@given(st.lists(st.one_of(st.integers(-3, 12), st.integers(0, 12).map(str), st.integers(0, 12).map("{:03d}".format))))
def test_different_ids_are_never_one(values: list[Any]) -> None:
    """A file with the ids "1", "01" and "001" was refused: they became one number."""
    ids = ListedIds(values)
    resolved = {str(value): ids.resolve(value) for value in values}
    assert None not in resolved.values()
    assert len(set(resolved.values())) == len(resolved)
    assert all(ids.resolve(value) == value for value in values if isinstance(value, int))


def test_ids_beyond_64_bits_are_numbered() -> None:
    """Hashes as ids, as integers or as text; their images and annotations were dropped."""
    ids = ListedIds([1 << 70, "a" * 64, str(1 << 80), 3])
    assert [ids.resolve(value) for value in (1 << 70, str(1 << 70), "a" * 64, 1 << 80, 3)] == [4, 4, 5, 6, 3]


def test_leading_zeros_without_a_second_spelling_are_numbers() -> None:
    ids = ListedIds(["0001", "0002"])
    assert [ids.resolve(value) for value in ("0001", 1, "2", 2.0)] == [1, 1, 2, 2]


def test_the_category_with_objects_keeps_its_name() -> None:
    """Exports put a group of the same name in front of a class; the class was called "ball (1)" in every prediction."""
    findings = Findings()
    assert unique_names({0: "ball", 1: "ball", 2: "cup"}, {1, 2}, findings) == {0: "ball (0)", 1: "ball", 2: "cup"}
    assert unique_names({0: "ball", 1: "ball"}, {0, 1}, findings) == {0: "ball", 1: "ball (1)"}


def category_ids(values: list[Any]) -> ListedIds:
    return ListedIds([value.get("id") for value in values if isinstance(value, dict)])


def test_categories_are_ordered_named_and_unique() -> None:
    findings = Findings()
    values = [
        {"id": 90, "name": "cup"},
        {"id": "3", "name": " cup "},
        {"id": 90, "name": "cup"},
        {"id": 1},
        {"name": "x"},
        7,
        {"id": 4, "name": "a\nb"},
    ]
    names = read_categories(values, category_ids(values), findings, "file")
    assert unique_names(names, set(), findings) == {1: "category 1", 3: "cup", 4: "category 4", 90: "cup (90)"}
    assert findings.summary() == (
        "category_malformed 2, category_repeated 1, category_renamed 3, category_id_converted 1"
    )


def test_no_category_is_usable() -> None:
    with pytest.raises(UserError, match="file: has no usable category"):
        read_categories([{"id": None}, "person"], ListedIds([None]), Findings(), "file")


def entries(*images: Any) -> tuple[list[Any], str]:
    findings = Findings()
    file = CocoFile(list(images), RawAnnotations([]), [])
    ids = ListedIds([value.get("id") for value in images if isinstance(value, dict)])
    found = read_image_entries(file, ids, ListedIds([]), findings, "file")
    return [(entry.image_id, entry.names, entry.size) for entry in found], findings.summary()


def test_image_entries() -> None:
    found, findings = entries(
        {"id": 1, "file_name": "a.jpg", "width": 4, "height": 3},
        {"id": 1, "file_name": "a.jpg", "width": 4, "height": 3},
        {"id": "x", "file_name": "b.jpg", "width": "4", "height": 0},
        {"id": 2.0, "coco_url": "http://host/val2017/c.jpg?x=1"},
        {"id": 4, "coco_url": "http://[broken"},
        {"id": 6, "file_name": "e.jpg", "neg_category_ids": []},
        {"file_name": "d.jpg"},
        None,
    )
    assert found == [
        (1, ("a.jpg",), (3, 4)),
        (7, ("b.jpg",), None),
        (2, ("val2017/c.jpg", "c.jpg"), None),
        (4, (), None),
        (6, ("e.jpg",), None),
    ]
    assert findings == (
        "image_malformed 2, image_id_converted 1, image_id_numbered 1, image_repeated 1, image_federated 1"
    )


def test_one_id_for_two_files_is_refused() -> None:
    with pytest.raises(UserError, match=r"image id 1 is listed twice, for 'a\.jpg' and for no file"):
        entries({"id": 1, "file_name": "a.jpg"}, {"id": 1})


def test_verified_classes() -> None:
    """An id that no category has would become a separate class, or crash the writing of the index."""
    findings = Findings()
    images = [
        {"id": 1, "file_name": "a", "neg_category_ids": [3, "2", 3], "not_exhaustive_category_ids": [1]},
        {"id": 2, "file_name": "b", "neg_category_ids": [9, None, [1]]},
        {"id": 3, "file_name": "c", "not_exhaustive_category_ids": 2},
        {"id": 4, "file_name": "d"},
    ]
    file = CocoFile(images, RawAnnotations([]), [{"id": 1}, {"id": 2}, {"id": "3"}, None])
    found = read_image_entries(file, ListedIds([1, 2, 3, 4]), category_ids(file.categories), findings, "file")
    assert [entry.verified for entry in found] == [
        Verified(negative=(2, 3), not_exhaustive=(1,)),
        Verified(negative=(), not_exhaustive=()),
        Verified(negative=(), not_exhaustive=(2,)),
        None,
    ]
    assert findings.summary() == "image_federated 3, image_verified_unknown 1"


def test_frequencies() -> None:
    findings = Findings()
    values = [
        {"id": 1, "frequency": "r", "image_count": 3},
        {"id": 1, "frequency": "f", "image_count": 300},
        {"id": 2, "frequency": "rare", "image_count": True},
        {"id": 3, "frequency": "c"},
        {"id": 4},
        {"id": 9, "frequency": "c"},
        None,
    ]
    found = read_frequencies(values, {1: "a", 2: "b", 3: "c", 4: "d"}, category_ids(values), findings)
    assert found == {1: Frequency("r", 3), 3: Frequency("c", None)}
    assert findings.summary() == "category_frequency_invalid 1"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """An image folder with a neighbour that must stay out of reach."""
    folder = tmp_path / "images"
    (folder / "sub" / "dir").mkdir(parents=True)
    (folder / "sub" / "dir" / "a.jpg").touch()
    (folder / "b.jpg").touch()
    (folder / "cam 1:2.jpg").touch()
    (folder / "100%25%20real.jpg").touch()
    (folder / unicodedata.normalize("NFD", "é.jpg")).touch()
    (tmp_path / "secret.jpg").touch()
    (folder / "inside.jpg").symlink_to("b.jpg")
    (folder / "outside.jpg").symlink_to(tmp_path / "secret.jpg")
    (folder / "loop.jpg").symlink_to("loop.jpg")
    (folder / "door").symlink_to(tmp_path)
    os.mkfifo(folder / "pipe.jpg")
    return folder


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("b.jpg", "b.jpg"),
        ("./b.jpg", "b.jpg"),
        ("sub/dir/a.jpg", "sub/dir/a.jpg"),
        ("sub\\dir\\a.jpg", "sub/dir/a.jpg"),
        ("sub/../b.jpg", "b.jpg"),
        ("inside.jpg", "inside.jpg"),
        ("cam%201%3A2.jpg", "cam 1:2.jpg"),
        ("cam%25201%253A2.jpg", "cam 1:2.jpg"),
        ("cam+1%3A2.jpg", "cam 1:2.jpg"),
        ("sub%2Fdir%5Ca.jpg", "sub/dir/a.jpg"),
        ("100% real.jpg", "100%25%20real.jpg"),
        ("é.jpg", unicodedata.normalize("NFD", "é.jpg")),
    ],
)
def test_found_inside(root: Path, name: str, expected: str) -> None:
    assert resolve_file(root, name) == expected


@pytest.mark.parametrize(
    "name",
    [
        "../secret.jpg",
        "..\\secret.jpg",
        "sub/../../secret.jpg",
        "/etc/passwd",
        "C:\\secret.jpg",
        "\\\\server\\secret.jpg",
        "file:///etc/passwd",
        "http://127.0.0.1:9/x.jpg",
        "b.jpg\x00.png",
        "b\n.jpg",
        "\ud800.jpg",
        "%2E%2E%2Fsecret.jpg",
        "outside%2Ejpg",
        "outside.jpg",
        "door/secret.jpg",
    ],
)
def test_never_outside(root: Path, name: str) -> None:
    with pytest.raises(UnsafePathError):
        resolve_file(root, name)


@pytest.mark.parametrize(
    "name",
    [
        "c.jpg",
        "%2Fetc%2Fpasswd",
        "b%00.jpg",
        "%ff.jpg",
        "sub",
        ".",
        "",
        "x" * 5000,
        "b.jpg/c.jpg",
        "pipe.jpg",
    ],
)
def test_nothing_there(root: Path, name: str) -> None:
    with pytest.raises(NoFileError):
        resolve_file(root, name)


def test_links_in_a_circle_are_no_missing_file(root: Path) -> None:
    with pytest.raises(OSError, match=os.strerror(errno.ELOOP)):
        resolve_file(root, "loop.jpg")


@pytest.mark.parametrize("number", [errno.EACCES, errno.ESTALE, errno.EIO])
def test_a_file_that_cannot_be_looked_for_is_not_missing(
    root: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """Permission denied, and a server that was away, were reported as images that do not exist."""
    real = os.stat

    def failing(path: Any, *arguments: Any, **named: Any) -> os.stat_result:
        if str(path).endswith("b.jpg"):
            raise OSError(number, os.strerror(number), str(path))
        return real(path, *arguments, **named)

    monkeypatch.setattr(os, "stat", failing)
    with pytest.raises(OSError, match=os.strerror(number)):
        resolve_file(root, "b.jpg")
