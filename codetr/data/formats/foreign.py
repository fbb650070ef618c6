"""Recognise files of other formats that are given as COCO files, to say what to do with them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

_ARCHIVES = (
    (0, b"PK\x03\x04", "a zip archive"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (0, b"Rar!\x1a\x07", "a RAR archive"),
    (257, b"ustar", "a tar archive"),
    (0, b"BZh", "compressed by bzip2"),
    (0, b"\xfd7zXZ\x00", "compressed by xz"),
    (0, b"\x28\xb5\x2f\xfd", "compressed by Zstandard"),
)
"""Where a file of each kind has which bytes."""

_PROGRAMS = (
    ("LabelMe", {"shapes", "imagePath"}),
    ("the VGG Image Annotator", {"_via_img_metadata"}),
    ("the VGG Image Annotator", {"filename", "regions"}),
    ("Label Studio", {"data", "annotations"}),
    ("Label Studio", {"data", "completions"}),
    ("Datumaro", {"items", "infos"}),
    ("CreateML", {"image", "annotations"}),
    ("Supervisely", {"objects", "size"}),
    ("BDD100K", {"labels", "name"}),
)
"""Keys of an object, by the program that writes such objects."""


def hint_for_content(content: bytes) -> str | None:
    """Return what to do with a file that is no JSON; None if it is not recognised."""
    for offset, mark, kind in _ARCHIVES:
        if content[offset : offset + len(mark)] == mark:
            return f"It is {kind}: unpack it, and name the annotation file."
    if content.lstrip()[:1] == b"<":
        return "It is XML: of Pascal VOC, name the folder of such files; export others, such as CVAT's, as COCO."
    return None


def hint_for_value(value: Any) -> str | None:
    """Return what to do with JSON that is no COCO file; None if it is not recognised."""
    for entry in _objects(value):
        if {"image_id", "category_id", "score"} <= entry.keys():
            return "It seems to be a file of results: `codetr score` reads those."
        for program, keys in _PROGRAMS:
            if keys <= entry.keys():
                return f"It seems to be a file of {program}: export it as COCO."
    return None


def _objects(value: Any) -> Iterable[dict[str, Any]]:
    """Return the object itself and the first one in it."""
    entries = [value, *(value[:1] if isinstance(value, list) else [])]
    entries += [next(iter(value.values()), None)] if isinstance(value, dict) else []
    return [entry for entry in entries if isinstance(entry, dict)]
