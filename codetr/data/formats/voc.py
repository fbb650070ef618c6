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
from collections.abc import Sequence
from dataclasses import replace
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
from codetr.data.formats.voc_files import ANNOTATIONS, VocFiles
from codetr.data.storage.links import NO_TARGETS, LinkTargets
from codetr.data.validation.findings import Findings

LISTS = "ImageSets/Main"

_DECLARATION = re.compile(rb"""\s*<\?xml[^>]*?encoding\s*=\s*["']([\w.:-]{1,40})["'][^>]*?\?>""")
_WIDE_ENCODINGS = {"gb2312": "gb18030", "gbk": "gb18030", "gb18030": "gb18030"} | {
    name: name for name in ("big5", "shift_jis", "euc-jp", "euc-kr")
}
"""Encodings that the XML parser does not know, by name; GB 18030 contains the other two."""

_OF_A_CLASS = re.compile(r".*\S\s+(-1|0|1)")
"""A line of the list of one class: an image, and whether it has an object of the class (0: only difficult ones)."""


def read_voc(
    path: Path, images: Path | None, split: str, findings: Findings, links: LinkTargets = NO_TARGETS
) -> RawSource:
    """Read a VOC folder.

    Args:
        path: the folder with Annotations (or a folder of XML files), or a list in its ImageSets/Main.
        images: the image folder; None for JPEGImages, or for the folder of the XML files if there is none.
        split: the list to read if `path` is a folder; without any lists, every XML file is read, also in folders below.
        findings: receives what is found.
        links: where symbolic links may lead.

    Raises:
        UserError: no such list or no XML files; a file that is missing, too large, not well-formed, or has a document
            type; or no object at all.
    """
    root, chosen = _root(path, split)
    located = VocFiles(root, images, links)
    files = TextFiles(root, links)
    identifiers = {}
    if chosen is None:
        located.require_one_split()
        counted = [(name, 1) for name in located.xml]
    else:
        chosen_ids = _read_list(path, root, chosen, links)
        identifiers = {located.find_xml(identifier): identifier for identifier in chosen_ids}
        counted = sorted(Counter(map(located.find_xml, chosen_ids)).items())
    if not counted:
        hint = "A VOC folder has Annotations/*.xml. For YOLO, give the data.yaml; for COCO, the JSON file."
        others = sorted(
            file.name for pattern in ("*.yaml", "*.yml", "*.json") for file in root.glob(pattern) if file.name[0] != "."
        )
        if others:
            hint += f" There is {root / others[0]}."
        raise UserError(f"{chosen} is empty" if chosen else "has no XML files", where=str(path), hint=hint)
    lists: dict[str, list[Any]] = {"images": [], "annotations": [], "categories": []}
    source_lines: dict[str, Sequence[str]] = {}
    image_lines: list[str] = []
    annotation_lines: list[str] = []
    for number, (name, listed) in enumerate(track(counted, len(counted), f"reading {split} annotations"), 1):
        tree = _read(files, name)
        if tree is None:
            continue
        identifier = identifiers.get(name) or located.identifier(name)
        lists["images"] += [_image(tree, number, identifier, located)] * listed
        image_lines += [name] * listed
        for position, node in enumerate(tree.findall("object"), 1):
            source_line = f"{name}, object {position}"
            annotation = _annotation(node, number)
            if annotation["iscrowd"]:
                findings.add("annotation_difficult", source_line)
            lists["annotations"].append({**annotation, "id": len(lists["annotations"]) + 1})
            annotation_lines.append(source_line)
    files.require_no_problems(path)
    source_lines |= {"images": image_lines, "annotations": annotation_lines}
    _number_classes(lists, source_lines, path)
    used = [image["file_name"] for image in lists["images"]]
    located.report_unused([name for name, _ in counted], used if chosen is None else None, findings)
    findings.source_lines = source_lines
    file = CocoFile(lists["images"], RawAnnotations(lists["annotations"]), lists["categories"])
    return RawSource(
        file, located.images, files.digest, has_category_ids=False, has_record_ids=False, written_as="xyxy"
    )


def _read_list(path: Path, root: Path, chosen: str, links: LinkTargets) -> list[str]:
    """Return the ids of a list; `path` may be a link to the content of the list, wherever that is."""
    files = TextFiles(root, replace(links, folders=(*links.folders, path.resolve())) if path.is_file() else links)
    lines = files.read_lines(chosen, MAX_LIST_BYTES) or []
    files.require_no_problems(path)
    identifiers = [line.strip() for line in lines if line.strip()]
    if identifiers and all(_OF_A_CLASS.fullmatch(line) for line in identifiers):
        problem = f"{chosen} is the list of one class: its second column marks the images that have it"
        hint = f"Give a list of images, such as {LISTS}/train.txt."
        raise UserError(problem, where=str(path), hint=hint)
    return identifiers


def has_labelled_split(path: Path, split: str, links: LinkTargets = NO_TARGETS) -> bool:
    """Return whether a VOC folder has a list of the split, and an XML file for its first image."""
    try:
        root, chosen = _root(path, split)
        if chosen is None or path.is_file():
            return False
        files = TextFiles(root, links)
        names = filter(None, map(str.strip, files.read_lines(chosen, MAX_LIST_BYTES) or []))
        located = VocFiles(root, None, links)
        return any(files.read(located.find_xml(name)) is not None for name in islice(names, 1))
    except UserError:
        return False


def _root(path: Path, split: str) -> tuple[Path, str | None]:
    """Return the root folder of a source, and its list relative to that; None if there are no lists."""
    if path.is_file():
        for file in (path, path.resolve()):
            root = next((parent for parent in list(file.parents)[:4] if (parent / ANNOTATIONS).is_dir()), None)
            if root is not None:
                return root, file.relative_to(root).as_posix()
        hint = f"A list of VOC is in {LISTS} of a folder that has {ANNOTATIONS}. For YOLO, give the data.yaml."
        raise UserError("is a text file outside of a VOC folder", where=str(path), hint=hint)
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
        ValueError: not well-formed (the message names line and column), in an unknown encoding, or with a document
            type.
    """
    content = _to_utf8(content)
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
    except (LookupError, ValueError) as error:
        raise ValueError(f"is not well-formed XML ({error})") from None
    for node in tree.iter():
        node.tag = node.tag.rpartition("}")[2]
    return tree


def _to_utf8(content: bytes) -> bytes:
    """Return XML of an encoding with several bytes a character, as of Chinese and Japanese programs, as UTF-8.

    Raises:
        ValueError: it is not text of the encoding that it declares.
    """
    declared = _DECLARATION.match(content)
    encoding = declared[1].decode().lower() if declared else ""
    if declared is None or encoding not in _WIDE_ENCODINGS:
        return content
    try:
        return content[declared.end() :].decode(_WIDE_ENCODINGS[encoding]).encode()
    except UnicodeDecodeError as error:
        raise ValueError(f"is not {encoding} text, as it declares (byte {declared.end() + error.start})") from None


def _image(tree: Element, number: int, identifier: str, located: VocFiles) -> dict[str, Any]:
    """Return an image entry."""
    name = located.find_image(identifier, _text(tree, "filename"))
    size = {side: _text(tree, f"size/{side}") for side in ("width", "height")}
    return {"id": number, "file_name": name, **size}


def _annotation(node: Element, image: int) -> dict[str, Any]:
    texts = [_text(node, f"bndbox/{side}") for side in ("xmin", "ymin", "xmax", "ymax")]
    annotation = {
        "image_id": image,
        "category": _text(node, "name"),
        "iscrowd": int(_text(node, "difficult").lower() in ("1", "true", "yes")),
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


def _number_classes(lists: dict[str, list[Any]], source_lines: dict[str, Sequence[str]], path: Path) -> None:
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
