"""Images whose files have other folders, suffixes or prefixes than the names that an annotation file gives."""

from __future__ import annotations

from pathlib import Path

import pytest

from codetr.data.storage.links import list_files
from codetr.data.storage.similar_names import SimilarNames


def find(root: Path, files: list[str], name: str) -> list[str]:
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).touch()
    return SimilarNames(lambda: list_files(root).names).find(name)


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("train/a.jpg", "a.jpg"),
        ("a.jpg", "train/a.jpg"),
        ("deep/train/a.jpg", "train/a.jpg"),
        ("a.png", "a.jpg"),
        ("A.JPG", "a.jpg"),
        ("COCO_train2014_000009.jpg", "000009.jpg"),
        ("000009.jpg", "COCO_train2014_000009.jpg"),
        ("cam 1.jpg", "0a1b2c3d-cam%201.jpg"),
        ("train/x-a.png", "a.jpg"),
        ("train/a.jpg", "old\\train\\a.jpg"),
    ],
)
def test_found(tmp_path: Path, file: str, name: str) -> None:
    """All images of such a file were missing, though each was there."""
    assert find(tmp_path, [file, "other.jpg", "other_b.jpg"], name) == [file]


@pytest.mark.parametrize(
    ("file", "name"),
    [("train/a.jpg", "val/a.jpg"), ("ab.jpg", "b.jpg"), ("x-a.jpg", "y-a.jpg"), ("a.txt", "a.jpg"), ("a.jpg", "")],
)
def test_another_image_is_never_found(tmp_path: Path, file: str, name: str) -> None:
    """The objects of one image would be learned on another."""
    assert find(tmp_path, [file], name) == []


def test_the_closest_names_are_found_and_all_of_them(tmp_path: Path) -> None:
    assert find(tmp_path, ["one/a.jpg", "two/a.jpg", "three/a.png"], "a.jpg") == ["one/a.jpg", "two/a.jpg"]
