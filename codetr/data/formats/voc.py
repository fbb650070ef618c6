"""Read Pascal VOC folders (Everingham et al., IJCV 2010; development kit of VOC 2012, section 6.2) as COCO lists.

    VOC2012/Annotations/ID.xml          the objects of an image
    VOC2012/JPEGImages/ID.jpg           the image
    VOC2012/ImageSets/Main/train.txt    the ids of a split

The XML is untrusted: document types, and with them entities, are refused.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from itertools import islice
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, ParseError, TreeBuilder
from xml.parsers.expat import ErrorString

from defusedxml.common import DTDForbidden
from defusedxml.ElementTree import DefusedXMLParser

from codetr.core.errors import UserError
from codetr.core.progress import track
from codetr.data.formats.coco import CocoFile
from codetr.data.formats.coco_columns import RawAnnotations
from codetr.data.formats.raw_source import RawSource
from codetr.data.formats.text_files import MAX_LIST_BYTES, TextFiles
from codetr.data.images import IMAGE_SUFFIXES
from codetr.data.validation.findings import Findings

ANNOTATIONS, IMAGES, LISTS = "Annotations", "JPEGImages", "ImageSets/Main"

_OF_A_CLASS = re.compile(r".*\S\s+(-1|0|1)")
"""A line of the list of one class: an image, and whether it has an object of the class (0: only difficult ones)."""


def read_voc(path: Path, images: Path | None, split: str, findings: Findings) -> RawSource:
    """Read a VOC folder.

    Args:
        path: the folder with Annotations (or a folder of XML files), or a list in its ImageSets/Main.
        images: the image folder; None for JPEGImages, or for the folder of the XML files if there is none.
        split: the list to read if `path` is a folder; without any lists, every XML file is read.
        findings: receives what is found.

    Raises:
        UserError: no such list or no XML files; a file that is missing, too large, not well-formed, or has a document
            type; or no object at all.
    """
    root, chosen = _root(path, split)
    folder = ANNOTATIONS if (root / ANNOTATIONS).is_dir() else "."
    if images is None:
        images = root / IMAGES if folder == ANNOTATIONS else root
    files = TextFiles(root)
    if chosen is None:
        found = [file for file in (root / folder).iterdir() if file.suffix.lower() == ".xml"]
        # macOS adds files ._NAME to archives.
        identifiers = [file.stem for file in found if not file.name.startswith(".")]
        suffixes = {file.stem: file.suffix for file in found}
    else:
        identifiers = [line.strip() for line in files.read_lines(chosen, MAX_LIST_BYTES) or [] if line.strip()]
        files.require_no_problems(path)
        suffixes = {}
        if identifiers and all(_OF_A_CLASS.fullmatch(line) for line in identifiers):
            problem = f"{chosen} is the list of one class: its second column marks the images that have it"
            hint = f"Give a list of images, such as {LISTS}/train.txt."
            raise UserError(problem, where=str(path), hint=hint)
    if not identifiers:
        hint = "A VOC folder has Annotations/*.xml. For YOLO, give the data.yaml; for COCO, the JSON file."
        raise UserError(f"{chosen} is empty" if chosen else "has no XML files", where=str(path), hint=hint)
    lists: dict[str, list[Any]] = {"images": [], "annotations": [], "categories": []}
    source_lines: dict[str, list[str]] = {"images": [], "annotations": [], "categories": []}
    counted = sorted(Counter(identifiers).items())
    for number, (identifier, listed) in enumerate(track(counted, len(counted), f"reading {split} annotations"), 1):
        name = f"{identifier}{suffixes.get(identifier, '.xml')}"
        if folder == ANNOTATIONS:
            name = f"{ANNOTATIONS}/{name}"
        tree = _read(files, name)
        if tree is None:
            continue
        lists["images"] += [_image(tree, number, identifier, images)] * listed
        source_lines["images"] += [name] * listed
        for position, node in enumerate(tree.findall("object"), 1):
            source_line = f"{name}, object {position}"
            annotation = _annotation(node, number)
            if annotation["iscrowd"]:
                findings.add("annotation_difficult", source_line)
            lists["annotations"].append({**annotation, "id": len(lists["annotations"]) + 1})
            source_lines["annotations"].append(source_line)
    files.require_no_problems(path)
    _number_classes(lists, source_lines, path)
    findings.source_lines = source_lines
    file = CocoFile(lists["images"], RawAnnotations(lists["annotations"]), lists["categories"])
    return RawSource(file, images, files.digest, has_category_ids=False, has_record_ids=False)


def has_labelled_split(path: Path, split: str) -> bool:
    """Return whether a VOC folder has a list of the split, and an XML file for its first image."""
    try:
        root, chosen = _root(path, split)
        if chosen is None or path.is_file():
            return False
        files = TextFiles(root)
        names = filter(None, map(str.strip, files.read_lines(chosen, MAX_LIST_BYTES) or []))
        return any(files.read(f"{ANNOTATIONS}/{name}.xml") is not None for name in islice(names, 1))
    except UserError:
        return False


def _root(path: Path, split: str) -> tuple[Path, str | None]:
    """Return the root folder of a source, and its list relative to that; None if there are no lists."""
    if path.is_file():
        root = next((parent for parent in list(path.parents)[:4] if (parent / ANNOTATIONS).is_dir()), None)
        if root is None:
            hint = f"A list of VOC is in {LISTS} of a folder that has {ANNOTATIONS}. For YOLO, give the data.yaml."
            raise UserError("is a text file outside of a VOC folder", where=str(path), hint=hint)
        return root, path.relative_to(root).as_posix()
    lists = sorted(file.stem for file in (path / LISTS).glob("*.txt"))
    if lists and split not in lists:
        # Lists of single classes, such as cat_train.txt, are not offered.
        usable = [name for name in lists if not name.endswith(("_train", "_val", "_trainval", "_test"))] or lists
        shown = ", ".join(usable[:10]) + (", …" if len(usable) > 10 else "")
        hint = f"Give one of these lists, e.g. {path / LISTS / usable[0]}.txt."
        raise UserError(f"has no {LISTS}/{split}.txt (its lists: {shown})", where=str(path), hint=hint)
    return path, f"{LISTS}/{split}.txt" if lists else None


def _read(files: TextFiles, name: str) -> Element | None:
    before = len(files.problems)
    content = files.read(name)
    if content is None:
        if len(files.problems) == before:
            files.reject(name, "is missing")
        return None
    try:
        tree = parse_xml(content)
    except ValueError as error:
        files.reject(name, str(error))
        return None
    if tree.tag != "annotation":
        files.reject(name, f"holds <{tree.tag[:40]}>, expected <annotation>")
        return None
    return tree


def parse_xml(content: bytes) -> Element:
    """Parse untrusted XML; namespaces are left out of the tags.

    Raises:
        ValueError: not well-formed (the message names line and column), or with a document type.
    """
    # The default target makes elements in Python, which are slower and walk through their children recursively.
    parser = DefusedXMLParser(target=TreeBuilder(), forbid_dtd=True)
    try:
        parser.feed(content)
        tree = parser.close()
    except DTDForbidden:
        line = parser.parser.CurrentLineNumber
        raise ValueError(f"has a document type (line {line}), which could declare entities") from None
    except ParseError as error:
        line, column = error.position
        problem = f"line {line}, column {column + 1}: {ErrorString(error.code)}"
        raise ValueError(f"is not well-formed XML ({problem})") from None
    except LookupError as error:
        raise ValueError(f"is not well-formed XML ({error})") from None
    for node in tree.iter():
        node.tag = node.tag.rpartition("}")[2]
    return tree


def _image(tree: Element, number: int, identifier: str, images: Path) -> dict[str, Any]:
    """Return an image entry: the file is named by its id, as `filename` is often wrong; else by `filename`."""
    written = _text(tree, "filename")
    suffixes = [*IMAGE_SUFFIXES, *(suffix.upper() for suffix in IMAGE_SUFFIXES)]
    if (suffix := Path(written).suffix).lower() in IMAGE_SUFFIXES:
        suffixes.insert(0, suffix)
    names = (f"{identifier}{suffix}" for suffix in suffixes)
    name = next((name for name in names if (images / name).is_file()), written or f"{identifier}.jpg")
    size = {side: _text(tree, f"size/{side}") for side in ("width", "height")}
    return {"id": number, "file_name": name, **size}


def _annotation(node: Element, image: int) -> dict[str, Any]:
    texts = [_text(node, f"bndbox/{side}") for side in ("xmin", "ymin", "xmax", "ymax")]
    annotation = {
        "image_id": image,
        "category": _text(node, "name"),
        "iscrowd": int(_text(node, "difficult") == "1"),
        "bbox": texts if any(texts) else None,
    }
    try:
        left, top, right, bottom = map(float, texts)
    except ValueError:
        return annotation  # the check of all boxes reports it
    # Pixels are counted from 1, and the last one is part of the box.
    width, height = right - left + 1, bottom - top + 1
    area = width * height if math.isfinite(width * height) else None
    return {**annotation, "bbox": [left - 1, top - 1, width, height], "area": area}


def _number_classes(lists: dict[str, list[Any]], source_lines: dict[str, list[str]], path: Path) -> None:
    """Assign category ids, which VOC lacks, in alphabetical order of names."""
    names = sorted({annotation["category"] for annotation in lists["annotations"]} - {""})
    if not names:
        raise UserError(f"has no object with a name in {len(lists['images'])} XML files", where=str(path))
    numbers = {name: number for number, name in enumerate(names, 1)}
    lists["categories"] = [{"id": number, "name": name} for name, number in numbers.items()]
    source_lines["categories"] = [f"class '{name}'" for name in names]
    for annotation in lists["annotations"]:
        name = annotation.pop("category")
        annotation["category_id"] = numbers.get(name)


def _text(node: Element, path: str) -> str:
    return (node.findtext(path) or "").strip()
