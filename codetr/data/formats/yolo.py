"""Read YOLO datasets (format: docs.ultralytics.com/datasets/detect and /segment) as COCO lists.

    data.yaml               path: the root; train, val, test: folders or lists of images; names: the classes
    images/train/a.jpg      an image
    labels/train/a.txt      its objects, one row each: class cx cy width height, or class x1 y1 x2 y2 x3 y3 ...

All coordinates are relative to the width and height of the image as displayed, so every image header is read.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from codetr.core.errors import UserError
from codetr.core.files import sha256_json
from codetr.core.progress import track
from codetr.core.text import shorten
from codetr.core.yaml_text import read_yaml
from codetr.data.config import HIGHEST_MAX_PIXELS
from codetr.data.formats.coco import CocoFile
from codetr.data.formats.coco_columns import RawAnnotations
from codetr.data.formats.passed_over import report_passed_over
from codetr.data.formats.raw_source import MalformedRow, RawSource
from codetr.data.formats.text_files import MAX_LIST_BYTES, TextFiles
from codetr.data.formats.yolo_labels import (
    find_label,
    label_name,
    report_unused_labels,
    unused_label_examples,
)
from codetr.data.formats.yolo_rows import BOX_COLUMNS, are_triangles, end_with_track_ids, keypoints_in, to_annotation
from codetr.data.images import IMAGE_SUFFIXES, read_header
from codetr.data.storage.links import LINK_HINT, NO_TARGETS, LinkTargets, list_files
from codetr.data.storage.paths import (
    NoFileError,
    UnsafePathError,
    exists,
    resolve_file,
    resolved,
    spelling_variants,
)
from codetr.data.validation.findings import Findings, short
from codetr.data.validation.ids import as_integer

_NO_POSE = "labels of pose datasets, which have other columns, are not supported"
_POSE_HINT = "Remove the keypoints: a row is a class and a box (cx cy w h), or a class and a polygon."


@dataclass(frozen=True)
class _Labels:
    """(height, width) of an image, None if unreadable; its label file and the lines of that, None if missing."""

    size: tuple[int, int] | None
    file: str | None
    lines: list[str] | None


@dataclass(frozen=True)
class _Listing:
    """The images of a split, relative to the root.

    Attributes:
        names: images, repeated where they are listed several times.
        folders: folders that were searched for images.
        other: files of these folders without the suffix of an image.
        closed: linked folders that may not be followed.
    """

    names: list[str]
    folders: list[str]
    other: list[str]
    closed: list[str]


def read_yolo(
    path: Path,
    images: Path | None,
    split: str,
    findings: Findings,
    links: LinkTargets = NO_TARGETS,
    *,
    workers: int,
) -> RawSource:
    """Read one split of a YOLO dataset.

    Args:
        path: the data.yaml.
        images: the root, instead of the `path` in data.yaml; nothing outside of it is read.
        split: the set of data.yaml to read: train, val or test.
        findings: receives what is found.
        links: where symbolic links may lead.
        workers: number of threads.

    Raises:
        UserError: data.yaml is invalid, or has a path that is missing or outside the root; a label file is not text
            or too large; or no image has a label file.
    """
    values = read_yaml(path)
    where = str(path)
    if "kpt_shape" in values:
        raise UserError(f"has kpt_shape: {_NO_POSE}", where=where, hint=_POSE_HINT)
    classes = _classes(values, where)
    root = _root(path, values, images)
    listing = _list_images(values, split, root, where, links, findings)
    files = TextFiles(root, links)

    def read(name: str) -> _Labels:
        try:
            size = _size(root, name, links)
        except UnsafePathError:
            return _Labels(None, label_name(name), [])  # the check of all images reports and drops it
        try:
            label = find_label(root, name, links)
        except UnsafePathError as error:
            files.reject(label_name(name), str(error))
            return _Labels(size, None, None)
        return _Labels(size, label, None if label is None else files.read_lines(label))

    counted = sorted(Counter(listing.names).items())
    with ThreadPoolExecutor(workers) as pool:
        found = list(track(pool.map(read, [name for name, _ in counted]), len(counted), f"reading {split} annotations"))
    files.require_no_problems(path)
    keypoints, certain = keypoints_in(row for labels in found for row in labels.lines or [])
    if certain:
        problem = f"rows have a box and {keypoints} keypoints with their visibility: {_NO_POSE}"
        raise UserError(problem, where=f"{where}: {split}", hint=_POSE_HINT)
    if all(labels.lines is None for labels in found):
        raise _no_labels([name for name, _ in counted], split, root, where, links)
    label_of = {name: labels.file for (name, _), labels in zip(counted, found, strict=True)}
    for closed in listing.closed:
        findings.add("image_unsafe_path", f"'{closed}' is a link that leads out of the folder")
    report_passed_over(root, listing.other, links, findings)
    report_unused_labels(root, label_of, listing.folders, links, findings)
    listed_images, annotations = _to_records(counted, found, findings)
    findings.source_lines["categories"] = [f"names: {number}" for number in classes]
    categories = [{"id": number, "name": name} for number, name in classes.items()]
    file = CocoFile(listed_images, RawAnnotations(annotations), categories)
    digest = sha256_json([list(classes.items()), [name for name, _ in counted], files.digest])
    return RawSource(file, root, digest, has_record_ids=False, written_as="relative_cxcywh")


def _to_records(
    counted: Sequence[tuple[str, int]], found: Sequence[_Labels], findings: Findings
) -> tuple[list[Any], list[Any]]:
    """Return the images and annotations as in a COCO file; `findings` gets their source lines.

    Args:
        counted: every image, and how often it is listed.
        found: its labels.
        findings: receives what is found.
    """
    rows = [row for labels in found for row in labels.lines or []]
    tracked = end_with_track_ids(rows)
    triangles = not tracked and are_triangles(rows)
    odd = "annotation_tracked" if tracked else "annotation_triangle" if triangles else None
    if odd is None and keypoints_in(rows)[0]:
        odd = "annotation_keypoints"
    images: list[Any] = []
    annotations: list[Any] = []
    image_lines: list[str] = []
    annotation_lines: list[str] = []
    for number, ((name, listed), labels) in enumerate(zip(counted, found, strict=True), 1):
        height, width = labels.size or (None, None)
        images += [{"id": number, "file_name": name, "height": height, "width": width}] * listed
        image_lines += [name] * listed
        if labels.lines is None:
            findings.add("label_file_missing", label_name(name))
        elif labels.file != label_name(name):
            findings.add("label_file_elsewhere", f"{labels.file} of '{name}'")
        for line, row in enumerate(labels.lines or [], 1):
            if not row.strip():
                continue
            source_line = f"{labels.file}, line {line}"
            annotation = to_annotation(row, *(labels.size or (1, 1)), tracked=tracked)
            if annotation is None:
                annotations.append(MalformedRow(row.strip(), number))
            else:
                annotations.append({**annotation, "id": len(annotations) + 1, "image_id": number})
                if odd is not None and len(row.split()) > BOX_COLUMNS:
                    findings.add(odd, f"{source_line}: {short(row.strip())}")
            annotation_lines.append(source_line)
    findings.source_lines = {"images": image_lines, "annotations": annotation_lines}
    return images, annotations


def _no_labels(images: list[str], split: str, root: Path, where: str, links: LinkTargets) -> UserError:
    """Return the error for a split of which no image has a label file, with those that are elsewhere."""
    problem = f"none of the {len(images)} {split} images has a label file"
    if elsewhere := unused_label_examples(root, images, links):
        problem += f"; there are {len(elsewhere)} elsewhere, e.g. '{elsewhere[0]}'"
    hint = f"Labels are in a folder 'labels' next to 'images': '{images[0]}' needs '{label_name(images[0])}'."
    return UserError(problem, where=where, hint=hint)


def has_labelled_split(path: Path, images: Path | None, split: str, links: LinkTargets = NO_TARGETS) -> bool:
    """Return whether a data.yaml lists images for a split, other than those of train, and at least one has labels.

    Args:
        path: the data.yaml.
        images: the root, as for `read_yolo`.
        split: val or test.
        links: where symbolic links may lead.
    """
    try:
        values = read_yaml(path)
        if _normalised(_entries(values, split)) == _normalised(_entries(values, "train")):
            return False
        root = _root(path, values, images)
        return any(
            _has_label(root, name, links) for name in _list_images(values, split, root, str(path), links, None).names
        )
    except UserError:
        return False  # reading train reports the problem


def _has_label(root: Path, image: str, links: LinkTargets) -> bool:
    try:
        return find_label(root, image, links) is not None
    except UnsafePathError:
        return False


def _classes(values: dict[str, Any], where: str) -> dict[int, str]:
    """Return class names by number."""
    names = values.get("names")
    if isinstance(names, list):
        names = dict(enumerate(names))
    if not isinstance(names, dict) or not names:
        hint = "`names` is a list of class names, or a mapping of class numbers to names."
        raise UserError(f"names: {shorten(repr(names), 40)} has no class", where=where, hint=hint)
    names = {int(key) if isinstance(key, str) and key.isdecimal() else key: name for key, name in names.items()}
    for number, name in names.items():
        if type(number) is not int or number < 0 or name is None or isinstance(name, list | dict):
            raise UserError(f"names: '{number}' is not a class number (0, 1, …), or has no name", where=where)
        if not isinstance(name, str) and type(name) is not int:
            problem = f"names: {number}: YAML parses this name as {shorten(repr(name), 40)}"
            raise UserError(problem, where=where, hint="Put it in quotes.")
    count = as_integer(values.get("nc", len(names)))
    if count != len(names):
        raise UserError(f"nc is {shorten(repr(values['nc']), 40)}, but there are {len(names)} names", where=where)
    return {number: str(name) for number, name in sorted(names.items())}


def _root(path: Path, values: dict[str, Any], images: Path | None) -> Path:
    if images is not None:
        return images
    given = values.get("path") or "."
    if not isinstance(given, str):
        raise UserError(f"path: {shorten(repr(given), 40)} is not a string", where=str(path))
    folder = path.parent
    given = next((name for name in spelling_variants(given) if (folder / name).is_dir()), given)
    root = (folder / given).resolve()
    if not root.is_dir() and PurePosixPath(given.replace("\\", "/")).name == folder.name:
        root = folder  # the path is relative to the datasets folder of Ultralytics
    hint = "Give the root with --images, or `images` in params.yaml."
    if not root.is_relative_to(folder):
        raise UserError(f"path: '{given}' is outside of the folder of this file", where=str(path), hint=hint)
    if not root.is_dir():
        raise UserError(f"path: there is no folder '{given}'", where=str(path), hint=hint)
    return root


def _list_images(
    values: dict[str, Any], split: str, root: Path, where: str, links: LinkTargets, findings: Findings | None
) -> _Listing:
    """Return the images of a split; names in lists that are found under another spelling are reported."""
    entries = _entries(values, split)
    if not isinstance(entries, list) or not entries or not all(isinstance(entry, str) for entry in entries):
        sets = ", ".join(name for name in ("train", "val", "test") if _entries(values, name)) or "none"
        hint = "Give a folder of images, a .txt file that lists them, or a list of these."
        raise UserError(f"has no images for '{split}' (sets: {sets})", where=where, hint=hint)
    listing = _Listing([], [], [], [])
    for entry in entries:
        field = f"{where}: {split}"
        # Annotation tools export '../train/images' for a folder next to data.yaml.
        upwards = entry.replace("\\", "/").removeprefix("../")
        name = _inside(root, root, entry, links) or _inside(root, root, upwards, links)
        if name is None:
            raise UserError(f"'{entry}' does not exist, or is outside of {root}", where=field, hint=LINK_HINT)
        if (root / name).is_dir():
            found = list_files(root, name, links)
            visible = [file for file in found.names if file.lower().endswith(IMAGE_SUFFIXES) and not _is_hidden(file)]
            listing.names.extend(visible)
            listing.folders.append(name)
            listing.other.extend(sorted(set(found.names) - set(visible)))
            listing.closed.extend(found.closed)
        elif name.lower().endswith(".txt"):
            listing.names.extend(_listed(root, name, field, links, findings))
        else:
            raise UserError(f"'{entry}' is neither a folder nor a .txt file", where=field)
    if not listing.names:
        raise UserError("there are no images", where=f"{where}: {split}")
    return listing


def _entries(values: dict[str, Any], split: str) -> Any:
    """Return what a data.yaml lists for a split; Roboflow calls val "valid"."""
    names = (split, "valid", "validation") if split == "val" else (split,)
    entries = next((values[name] for name in names if values.get(name)), None)
    return [entries] if isinstance(entries, str) else entries


def _normalised(entries: Any) -> Any:
    """Return the paths of a list without `./` and the like, so that equal ones can be compared."""
    if not isinstance(entries, list):
        return entries
    return [os.path.normpath(entry.replace("\\", "/")) if isinstance(entry, str) else entry for entry in entries]


def _is_hidden(name: str) -> bool:
    return PurePosixPath(name).name.startswith(".")


def _inside(root: Path, base: Path, name: str, links: LinkTargets) -> str | None:
    """Return the path `name`, relative to `base`, as a path relative to the root; None if missing or outside."""
    for spelling in spelling_variants(name):
        if "\0" in spelling:
            continue
        named = Path(os.path.normpath(base / spelling))
        target = resolved(named)
        # A link keeps its name.
        if named.is_relative_to(root) and links.allow(root, target) and exists(target):
            return named.relative_to(root).as_posix()
        if target.is_relative_to(root) and exists(target):
            return target.relative_to(root).as_posix()
    return None


def _listed(root: Path, name: str, where: str, links: LinkTargets, findings: Findings | None) -> list[str]:
    """Return the images of a list: paths relative to the root, or to the list after `./`, or absolute inside."""
    files = TextFiles(root, links)
    lines = files.read_lines(name, MAX_LIST_BYTES)
    if lines is None:
        raise UserError(files.problems[0] if files.problems else f"'{name}' is not a file", where=where)
    folder = (root / name).parent
    names = []
    for line in filter(None, map(str.strip, lines)):
        bases = (folder, root) if line.startswith(("./", ".\\")) else (root, folder)
        found = (_inside(root, base, line, links) for base in bases)
        # The check of all images reports a name that is missing or outside.
        names.append(next((inside for inside in found if inside is not None), line))
        if findings is not None and PurePosixPath(names[-1]).name != PurePosixPath(line).name:
            findings.add("image_name_adapted", f"{name}: '{line}' is '{names[-1]}'")
    return names


def _size(root: Path, name: str, links: LinkTargets) -> tuple[int, int] | None:
    """Return (height, width) upright; None if the image cannot be read, which the check of all images reports.

    Raises:
        UnsafePathError: the name must not be followed.
    """
    try:
        return read_header(root / resolve_file(root, name, links), max_pixels=HIGHEST_MAX_PIXELS).size(upright=True)
    except (UserError, NoFileError, OSError):
        return None
