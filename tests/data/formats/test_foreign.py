"""Files of other programs are named, with what to do: "not valid JSON" would leave the user alone."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codetr.core.errors import UserError
from codetr.data.formats.coco import read_coco
from codetr.data.formats.foreign import hint_for_content, hint_for_value
from codetr.data.validation.findings import Findings

CONTENT = json.dumps({"images": [{"id": 1}], "annotations": [], "categories": [{"id": 1}]}).encode()


def zipped() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("train.json", CONTENT)
    return stream.getvalue()


def tarred() -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        entry = tarfile.TarInfo("train.json")
        entry.size = len(CONTENT)
        archive.addfile(entry, io.BytesIO(CONTENT))
    return stream.getvalue()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (zipped(), "is a zip archive: unpack it"),
        (tarred(), "is a tar archive: unpack it"),
        (bz2.compress(CONTENT), "compressed by bzip2"),
        (lzma.compress(CONTENT), "compressed by xz"),
        (b"<?xml version='1.0'?><annotations/>", "is XML: of Pascal VOC, name the folder"),
        (b'{"shapes": [], "imagePath": "a.jpg"}', "of LabelMe: export it as COCO"),
        (b'{"a.jpg123": {"filename": "a.jpg", "regions": []}}', "of the VGG Image Annotator"),
        (b'[{"id": 1, "data": {"image": "a.jpg"}, "annotations": []}]', "of Label Studio"),
        (b'[{"image_id": 1, "category_id": 1, "bbox": [], "score": 1}]', "`codetr score` reads those"),
        (b"[1]", "expected an object with images, annotations and categories"),
    ],
    ids=["zip", "tar", "bzip2", "xz", "xml", "labelme", "via", "label_studio", "results", "unknown"],
)
def test_the_program_or_archive_is_named(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "train.json").write_bytes(content)
    with pytest.raises(UserError, match=said):
        read_coco(tmp_path / "train.json", Findings())


def test_joined_gzip_files_are_read_whole(tmp_path: Path) -> None:
    """As `cat` and bgzip make them; only the first part was read."""
    parts = [gzip.compress(CONTENT[start : start + 20]) for start in range(0, len(CONTENT), 20)]
    (tmp_path / "train.json").write_bytes(b"".join(parts) + bytes(30))
    assert len(read_coco(tmp_path / "train.json", Findings()).images) == 1


@given(st.binary(max_size=40))
def test_any_bytes_are_looked_at(content: bytes) -> None:
    assert isinstance(hint_for_content(content), str | None)


@given(st.recursive(st.none() | st.integers() | st.text(max_size=3), lambda inner: st.lists(inner, max_size=3)))
def test_any_value_is_looked_at(value: Any) -> None:
    assert hint_for_value(value) is None
    assert hint_for_value({"images": value}) is None
