"""Read YOLO datasets (format: docs.ultralytics.com/datasets/detect and /segment) as COCO lists.

    data.yaml               path: the root; train, val, test: folders or lists of images; names: the classes
    images/train/a.jpg      an image
    labels/train/a.txt      its objects, one row each: class cx cy width height, or class x1 y1 x2 y2 x3 y3 ...

All coordinates are relative to the width and height of the image as displayed, so every image header is read.
"""

from __future__ import annotations

import math
import os
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from codetr.core.errors import UserError
from codetr.core.files import sha256_json
from codetr.core.progress import track
from codetr.core.yaml_text import read_yaml
from codetr.data.config import HIGHEST_MAX_PIXELS
from codetr.data.formats.coco import CocoFile
from codetr.data.formats.coco_columns import RawAnnotations
from codetr.data.formats.raw_source import MalformedRow, RawSource
from codetr.data.formats.text_files import MAX_LIST_BYTES, TextFiles
from codetr.data.images import IMAGE_SUFFIXES, read_header
from codetr.data.storage.paths import NoFileError, UnsafePathError, resolve_file
from codetr.data.validation.findings import Findings


@dataclass(frozen=True)
class _Labels:
    """(height, width) of an image, None if unreadable; its label file, and the lines of that, None if missing."""

    size: tuple[int, int] | None
    file: str
    lines: list[str] | None


def read_yolo(path: Path, images: Path | None, split: str, findings: Findings, *, workers: int) -> RawSource:
    """Read one split of a YOLO dataset.

    Args:
        path: the data.yaml.
        images: the root, instead of the `path` in data.yaml; nothing outside of it is read.
        split: the set of data.yaml to read: train, val or test.
        findings: receives what is found.
        workers: number of threads.

    Raises:
        UserError: data.yaml is invalid, or has a path that is missing or outside the root; a label file is not text
            or too large; or no image has a label file.
    """
    values = read_yaml(path)
    where = str(path)
    if "kpt_shape" in values:
        raise UserError(
            "has kpt_shape: labels of pose datasets, which have other columns, are not supported", where=where
        )
    classes = _classes(values, where)
    root = _root(path, values, images)
    names = _image_names(values, split, root, where)
    files = TextFiles(root)

    def read(name: str) -> _Labels:
        label = _label_name(name)
        try:
            return _Labels(_size(root, name), label, files.read_lines(label))
        except UnsafePathError:
            return _Labels(None, label, [])  # the check of all images reports and drops it

    counted = sorted(Counter(names).items())
    with ThreadPoolExecutor(workers) as pool:
        found = list(track(pool.map(read, [name for name, _ in counted]), len(counted), f"reading {split} annotations"))
    files.require_no_problems(path)
    if all(labels.lines is None for labels in found):
        problem = f"none of the {len(found)} {split} images has a label file"
        hint = f"Labels are in a folder 'labels' next to 'images': '{counted[0][0]}' needs '{found[0].file}'."
        raise UserError(problem, where=where, hint=hint)
    listed_images: list[Any] = []
    annotations: list[Any] = []
    source_lines: dict[str, list[str]] = {
        "images": [],
        "annotations": [],
        "categories": [f"names: {n}" for n in classes],
    }
    for number, ((name, listed), labels) in enumerate(zip(counted, found, strict=True), 1):
        height, width = labels.size or (None, None)
        image = {"id": number, "file_name": name, "height": height, "width": width}
        listed_images += [image] * listed
        source_lines["images"] += [name] * listed
        if labels.lines is None:
            findings.add("label_file_missing", labels.file)
        for line, row in enumerate(labels.lines or [], 1):
            if not row.strip():
                continue
            annotation = _annotation(row, *(labels.size or (1, 1)))
            if annotation is None:
                annotations.append(MalformedRow(row.strip(), number))
            else:
                annotations.append({**annotation, "id": len(annotations) + 1, "image_id": number})
            source_lines["annotations"].append(f"{labels.file}, line {line}")
    findings.source_lines = source_lines
    categories = [{"id": number, "name": name} for number, name in classes.items()]
    file = CocoFile(listed_images, RawAnnotations(annotations), categories)
    digest = sha256_json([list(classes.items()), [name for name, _ in counted], files.digest])
    return RawSource(file, root, digest, has_record_ids=False)


def has_labelled_split(path: Path, images: Path | None, split: str) -> bool:
    """Return whether a data.yaml lists images for a split, other than those of train, and at least one has labels.

    Args:
        path: the data.yaml.
        images: the root, as for `read_yolo`.
        split: val or test.
    """
    try:
        values = read_yaml(path)
        if values.get(split) == values.get("train"):
            return False
        root = _root(path, values, images)
        return any(_exists(root, _label_name(name)) for name in _image_names(values, split, root, str(path)))
    except UserError:
        return False  # reading train reports the problem


def _exists(root: Path, name: str) -> bool:
    try:
        resolve_file(root, name)
    except (NoFileError, UnsafePathError):
        return False
    return True


def _classes(values: dict[str, Any], where: str) -> dict[int, str]:
    """Return class names by number."""
    names = values.get("names")
    if isinstance(names, list):
        names = dict(enumerate(names))
    if not isinstance(names, dict) or not names:
        hint = "`names` is a list of class names, or a mapping of class numbers to names."
        raise UserError(f"names: {names!r:.40} has no class", where=where, hint=hint)
    for number, name in names.items():
        if type(number) is not int or number < 0 or name is None or isinstance(name, list | dict):
            raise UserError(f"names: '{number}' is not a class number (0, 1, …), or has no name", where=where)
        if not isinstance(name, str) and type(name) is not int:
            problem = f"names: {number}: YAML parses this name as {name!r:.40}"
            raise UserError(problem, where=where, hint="Put it in quotes.")
    count = values.get("nc", len(names))
    if count != len(names):
        raise UserError(f"nc is {count!r:.40}, but there are {len(names)} names", where=where)
    return {number: str(name) for number, name in sorted(names.items())}


def _root(path: Path, values: dict[str, Any], images: Path | None) -> Path:
    if images is not None:
        return images
    given = values.get("path") or "."
    if not isinstance(given, str):
        raise UserError(f"path: {given!r:.40} is not a string", where=str(path))
    folder = path.parent
    root = (folder / given).resolve()
    if not root.is_dir() and Path(given).name == folder.name:
        root = folder  # the path is relative to the datasets folder of Ultralytics
    hint = "Give the root with --images, or `images` in params.yaml."
    if not root.is_relative_to(folder):
        raise UserError(f"path: '{given}' is outside of the folder of this file", where=str(path), hint=hint)
    if not root.is_dir():
        raise UserError(f"path: there is no folder '{given}'", where=str(path), hint=hint)
    return root


def _image_names(values: dict[str, Any], split: str, root: Path, where: str) -> list[str]:
    """Return the images of a split, relative to the root."""
    entries = values.get(split)
    if isinstance(entries, str):
        entries = [entries]
    if not isinstance(entries, list) or not entries or not all(isinstance(entry, str) for entry in entries):
        sets = ", ".join(name for name in ("train", "val", "test") if values.get(name)) or "none"
        hint = "Give a folder of images, a .txt file that lists them, or a list of these."
        raise UserError(f"has no images for '{split}' (sets: {sets})", where=where, hint=hint)
    names: list[str] = []
    for entry in entries:
        field = f"{where}: {split}"
        # Annotation tools export '../train/images' for a folder next to data.yaml.
        name = _inside(root, root, entry) or _inside(root, root, entry.removeprefix("../"))
        if name is None:
            raise UserError(f"'{entry}' does not exist, or is outside of {root}", where=field)
        if (root / name).is_dir():
            names += _walk(root, name)
        elif name.endswith(".txt"):
            names += _listed(root, name, field)
        else:
            raise UserError(f"'{entry}' is neither a folder nor a .txt file", where=field)
    if not names:
        raise UserError("there are no images", where=f"{where}: {split}")
    return names


def _inside(root: Path, base: Path, name: str) -> str | None:
    """Return the path `name`, relative to `base`, as a path relative to the root; None if missing or outside."""
    try:
        named = Path(os.path.normpath(base / name))
        target = named.resolve()
        if not target.is_relative_to(root) or not target.exists():
            return None
    except (OSError, RuntimeError, ValueError):  # too long a name; a loop of links; a NUL
        return None
    return (named if named.is_relative_to(root) else target).relative_to(root).as_posix()


def _walk(root: Path, folder: str) -> list[str]:
    names = []
    # Links to folders are not followed: one to a parent folder would never end.
    for parent, _, files in os.walk(root / folder, onerror=_refuse):
        names += [
            (Path(parent) / file).relative_to(root).as_posix()
            for file in files
            if file.lower().endswith(IMAGE_SUFFIXES) and not file.startswith(".")
        ]
    return names


def _refuse(error: OSError) -> None:
    raise UserError(f"cannot be read: {error.strerror}", where=str(error.filename))


def _listed(root: Path, name: str, where: str) -> list[str]:
    """Return the images of a list: paths relative to the root, or to the list after `./`, or absolute inside."""
    files = TextFiles(root)
    lines = files.read_lines(name, MAX_LIST_BYTES)
    if lines is None:
        raise UserError(files.problems[0] if files.problems else f"'{name}' is not a file", where=where)
    folder = (root / name).parent
    names = []
    for line in filter(None, map(str.strip, lines)):
        bases = (folder, root) if line.startswith("./") else (root, folder)
        found = (_inside(root, base, line) for base in bases)
        # The check of all images reports a name that is missing or outside.
        names.append(next((inside for inside in found if inside is not None), line))
    return names


def _label_name(image: str) -> str:
    """Return the label file of an image: the last folder 'images' becomes 'labels', and the suffix '.txt'."""
    before, separator, after = f"/{image}".rpartition("/images/")
    path = f"{before}/labels/{after}" if separator else f"/{image}"
    stem, dot, _ = path.rpartition(".")
    return f"{stem if dot else path}.txt".removeprefix("/")


def _size(root: Path, name: str) -> tuple[int, int] | None:
    """Return (height, width) upright; None if the image cannot be read, which the check of all images reports.

    Raises:
        UnsafePathError: the name must not be followed.
    """
    try:
        return read_header(root / resolve_file(root, name), max_pixels=HIGHEST_MAX_PIXELS).size(upright=True)
    except (UserError, NoFileError, OSError):
        return None


def _annotation(row: str, height: int, width: int) -> dict[str, Any] | None:
    """Return a row as a COCO annotation in pixels; None if it is malformed."""
    first, *rest = row.split()
    try:
        values = [float(text) for text in rest]
        number = float(first)
    except ValueError:
        return None
    category = int(number) if number.is_integer() else first
    if len(values) == 4:
        x, y, w, h = values
        box = [(x - w / 2) * width, (y - h / 2) * height, w * width, h * height]
        return {"category_id": category, "bbox": box, "area": _finite(box[2] * box[3])}
    if len(values) < 6 or len(values) % 2:
        return None
    xs, ys = [x * width for x in values[0::2]], [y * height for y in values[1::2]]
    polygon = [value for point in zip(xs, ys, strict=True) for value in point]
    if not all(map(math.isfinite, polygon)):
        return {"category_id": category, "bbox": [math.nan] * 4}
    left, top = min(xs), min(ys)
    box = [left, top, max(xs) - left, max(ys) - top]
    doubled = sum(x * ys[i - 1] - xs[i - 1] * y for i, (x, y) in enumerate(zip(xs, ys, strict=True)))
    return {"category_id": category, "bbox": box, "segmentation": [polygon], "area": _finite(abs(doubled) / 2)}


def _finite(area: float) -> float | None:
    return area if math.isfinite(area) else None
