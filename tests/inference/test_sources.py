"""What files, folders, patterns, addresses and indices of cameras stand for."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from codetr.core.errors import UserError
from codetr.inference.sources import find_sources


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("a.jpg", "b.JPG", "notes.txt", "clip.mp4", "deep/c.png", "deep/er/d.jpg", "x[1].jpg", ".hidden.jpg"):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("in/*.jpg", ["a.jpg", "x[1].jpg"]),
        ("in/*", ["a.jpg", "b.JPG", "deep/c.png", "deep/er/d.jpg", "x[1].jpg", "clip.mp4"]),
        ("in/**/*.jpg", ["a.jpg", "deep/er/d.jpg", "x[1].jpg"]),
        ("in/**", [".hidden.jpg", "a.jpg", "b.JPG", "x[1].jpg", "deep/c.png", "deep/er/d.jpg", "clip.mp4"]),
        ("in/[ab].*", ["a.jpg", "b.JPG"]),
        ("*/?.jpg", ["in/a.jpg"]),
        ("in/x[1].jpg", ["x[1].jpg"]),  # a file of this name
    ],
)
def test_patterns_match_images_and_videos_once_in_order(folder: Path, pattern: str, names: list[str]) -> None:
    """Shells do not expand what is quoted, or too many names for a command line."""
    found = find_sources([pattern])
    assert [str(image.name) for image in found.images] + [Path(video).name for video in found.videos] == names
    assert [image.path for image in find_sources([folder / pattern]).images] == [folder / i.path for i in found.images]


def test_a_pattern_without_matches_is_an_error(folder: Path) -> None:
    for pattern in ("in/*.tif", "nowhere/**/*.jpg", "in/*.txt"):
        with pytest.raises(UserError, match="matches no image and no video"):
            find_sources(["in", pattern])


def test_a_pipe_that_matches_is_no_video(folder: Path) -> None:
    """Opening it would wait for ever."""
    os.mkfifo(folder / "in/pipe.mp4")
    assert find_sources(["in/*.mp4"]).videos == ["in/clip.mp4"]


def test_several_sources_are_joined_and_an_image_is_taken_once(folder: Path) -> None:
    found = find_sources(["in/deep", "in/**/*.png", "in/a.jpg", folder / "in/a.jpg"])
    assert [str(image.name) for image in found.images] == ["c.png", "er/d.jpg", "a.jpg"]


def test_a_number_is_a_camera_unless_a_file_has_this_name(folder: Path) -> None:
    assert find_sources(["0", "07", "camera:2"]).videos == ["camera:0", "camera:7", "camera:2"]
    (folder / "0").mkdir()
    (folder / "0/a.jpg").write_bytes(b"")
    assert [str(image.name) for image in find_sources(["0"]).images] == ["a.jpg"]
    for no_camera in ("12345", "-1", "1.5"):
        with pytest.raises(UserError, match="no such file or folder"):
            find_sources([no_camera])
