"""Annotation files of every encoding are read; invalid files are refused with the position of the error."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path

import pytest

from codetr.core.errors import UserError
from codetr.data.formats import coco
from codetr.data.formats.coco import read_coco, read_coco_json
from codetr.data.validation.findings import Findings

TEXT = json.dumps(
    {"images": [{"id": 1}], "annotations": [], "categories": [{"id": 1, "name": "é"}]}, ensure_ascii=False
)


@pytest.mark.parametrize(
    ("content", "findings"),
    [
        (TEXT.encode(), "none"),
        (gzip.compress(TEXT.encode(), mtime=0), "none"),
        (TEXT.encode("utf-8-sig"), "file_encoding 1"),
        (TEXT.encode("utf-16"), "file_encoding 1"),
        (gzip.compress(TEXT.encode("utf-16"), mtime=0), "file_encoding 1"),
    ],
)
def test_encodings(tmp_path: Path, content: bytes, findings: str) -> None:
    path = tmp_path / "annotations.json"
    path.write_bytes(content)
    found = Findings()
    file = read_coco(path, found)
    assert (file.images, list(file.annotations), file.categories) == ([{"id": 1}], [], [{"id": 1, "name": "é"}])
    assert found.summary() == findings


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b" \n", "is empty"),
        (TEXT.encode("latin-1"), "is not utf-8 text (byte "),
        (TEXT.encode()[:-20], "is not valid JSON (line 1, column "),
        (gzip.compress(TEXT.encode(), mtime=0)[:-12], "is truncated gzip"),
        (b"\x1f\x8b" + b"x" * 50, "is not valid gzip"),
        (b"[" * 200_000, "is nested too deeply"),
        (b'{"images": ' + b"9" * 10_000 + b"}", "is not valid JSON"),
        (b'{"images": [], "images": []}', "the key 'images' twice"),
        (b'"text"', "holds a JSON string, expected an object"),
        (b"7.5", "holds a JSON number, expected an object"),
        (b"true", "holds a JSON true, expected an object"),
        (b"{}", "has no 'images' (its keys: none)"),
        (
            TEXT.replace("annotations", "annotation").encode(),
            "has no 'annotations' (its keys: 'images', 'annotation', ",
        ),
        (TEXT.replace("[]", "{}").encode(), "'annotations' is a JSON object, expected a list"),
        (TEXT.replace('[{"id": 1}]', "[]").encode(), "the list 'images' is empty"),
    ],
)
def test_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "annotations.json"
    path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        read_coco(path, Findings())
    assert message in caught.value.problem
    assert caught.value.where == str(path)


@pytest.mark.parametrize("compress", [False, True])
def test_a_pipe_of_the_shell_is_read(compress: bool) -> None:
    """`codetr score <(jq … a.json) results.json` ended with "Illegal seek"."""
    reader, writer = os.pipe()
    content = b'{"images": []}'
    os.write(writer, gzip.compress(content) if compress else content)
    os.close(writer)
    try:
        assert read_coco_json(Path(f"/dev/fd/{reader}")) == {"images": []}
    finally:
        os.close(reader)


def test_no_file_or_a_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        read_coco(tmp_path / "nowhere.json", Findings())
    with pytest.raises(UserError, match="is a folder"):
        read_coco(tmp_path, Findings())


@pytest.mark.parametrize("compress", [False, True])
def test_size_is_bounded_before_it_is_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compress: bool) -> None:
    """A gzip bomb of a few kilobytes would fill the memory."""
    monkeypatch.setattr(coco, "MAX_BYTES", 1 << 20)
    content = TEXT.encode() + b" " * (2 << 20)
    path = tmp_path / "annotations.json"
    path.write_bytes(gzip.compress(content) if compress else content)
    with pytest.raises(UserError, match=r"more than|is larger than"):
        read_coco(path, Findings())
