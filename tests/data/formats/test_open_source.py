"""Where the images of a COCO file are, if no folder is named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from codetr.data.config import SourceConfig
from codetr.data.formats.open_source import fetch, read
from codetr.data.validation.findings import Findings


@pytest.mark.parametrize(
    ("file", "images"), [("train.json", "."), ("train.json", "images"), ("annotations/train.json", "images")]
)
def test_images_near_the_file_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str, images: str
) -> None:
    """Exports have the file beside its images: all of them were looked for in the current folder."""
    monkeypatch.chdir("/")
    for folder in (tmp_path / images, (tmp_path / file).parent):
        folder.mkdir(parents=True, exist_ok=True)
    (tmp_path / images / "a.jpg").touch()
    content = {"images": [{"id": 1, "file_name": "a.jpg"}], "annotations": [], "categories": [{"id": 1, "name": "a"}]}
    (tmp_path / file).write_text(json.dumps(content))

    def root() -> object:
        source = fetch(SourceConfig(annotations=str(tmp_path / file)), tmp_path / "unused")
        return read(source, "train", Findings(), workers=1).images

    assert root() == (tmp_path / images).resolve()
    current = tmp_path / "current"
    current.mkdir()
    monkeypatch.chdir(current)
    (current / "a.jpg").touch()
    assert root() == current


def test_the_name_of_a_link_decides_about_its_format(tmp_path: Path) -> None:
    """A data.yaml in DVC's cache or in a Hub snapshot is a link to a file without suffix."""
    (tmp_path / "blobs").mkdir()
    (tmp_path / "blobs" / "0a1b2c").write_text("train: images\nnames: [a]\n")
    (tmp_path / "dataset" / "images").mkdir(parents=True)
    link = tmp_path / "dataset" / "data.yaml"
    link.symlink_to("../blobs/0a1b2c")
    assert fetch(SourceConfig(annotations=str(link)), tmp_path / "unused").annotations == link


@pytest.mark.parametrize("given", ["voc", "voc/train.txt", "voc/train.json"])
def test_the_cache_of_the_repository_with_the_annotations_is_known(tmp_path: Path, given: str) -> None:
    """A VOC folder may be the root of its repository; its images were links out of the folder."""
    (tmp_path / "voc" / ".dvc").mkdir(parents=True)
    if given != "voc":
        (tmp_path / given).touch()
    source = fetch(SourceConfig(annotations=str(tmp_path / given)), tmp_path / "unused")
    assert (tmp_path / "voc" / ".dvc" / "cache").resolve() in source.links.dvc_caches
