"""Find the label file of every image of a YOLO dataset, and label files that belong to no image."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath

from codetr.data.formats.text_files import text_encoding
from codetr.data.formats.yolo_rows import resembles_row
from codetr.data.images import IMAGE_SUFFIXES
from codetr.data.storage.links import LinkTargets, list_files
from codetr.data.storage.paths import NoFileError, UnsafePathError, file_exists, resolve_file
from codetr.data.validation.findings import Findings

_SUFFIXES = (".txt", ".TXT", ".Txt")
_SNIFFED_BYTES = 1 << 12


def label_name(image: str) -> str:
    """Return the usual label file of an image: the last folder 'images' becomes 'labels', and the suffix '.txt'."""
    return f"{_stem(_exchanged(image, 'images', 'labels'))}.txt"


def find_label(root: Path, image: str, links: LinkTargets) -> str | None:
    """Return the label file of an image, relative to the root; None if it has none.

    It is next to the folder 'images', see `label_name`, or beside the image, if its rows are labels.

    Raises:
        UnsafePathError: a link to it must not be followed or leads nowhere, or a folder has its name.
    """
    for stem in _label_stems(image):
        for suffix in _SUFFIXES:
            try:
                found = resolve_file(root, f"{stem}{suffix}", links)
            except NoFileError:
                if os.path.lexists(root / f"{stem}{suffix}"):
                    raise UnsafePathError("is a folder, or a link that leads nowhere") from None
                continue
            # Beside an image there may be other text, such as its caption.
            if stem == _stem(label_name(image)) or _has_rows(root / found, if_empty=True):
                return found
    return None


def report_unused_labels(
    root: Path, labels: Mapping[str, str | None], folders: Sequence[str], links: LinkTargets, findings: Findings
) -> None:
    """Report label files that are not used although they are where labels of these images are expected.

    Args:
        root: the folder of all files.
        labels: the label file by image, None where none was found.
        folders: those that were listed for images; they are searched with all folders in them.
        links: where links may lead.
        findings: receives `label_file_unused`.
    """
    used = set(labels.values())
    images_of: dict[str, list[str]] = {}
    for image in labels:
        for stem in _label_stems(image):
            images_of.setdefault(stem, []).append(image)
    stems = {PurePosixPath(_stem(image)).name: image for image, label in labels.items() if label is None}
    reported = set()
    for name in (*_near(root, labels, folders, links), *(_everywhere(root, stems, links) if stems else ())):
        if name in used or name in reported or not (file_exists(root, name, links) and _has_rows(root / name)):
            continue
        reported.add(name)
        if claiming := images_of.get(_stem(name)):
            label = labels[claiming[0]]
            if label is not None and _content(root / label) == _content(root / name):
                continue
            findings.add("label_file_unused", f"{name}: '{claiming[0]}' has the labels {label}")
        elif not (others := _files_of(root, name)):
            known = stems.get(PurePosixPath(_stem(name)).name)
            reason = f"'{known}' has no labels" if known else "there is no image of this name"
            findings.add("label_file_unused", f"{name}: {reason}")
        elif not any(other.lower().endswith(IMAGE_SUFFIXES) for other in others):
            findings.add("label_file_unused", f"{name}: '{others[0]}' has no suffix of an image")


def unused_label_examples(root: Path, images: Iterable[str], links: LinkTargets) -> list[str]:
    """Return label files anywhere below the root that are named like these images."""
    stems = {PurePosixPath(_stem(image)).name for image in images}
    return [
        name for name in _everywhere(root, stems, links) if file_exists(root, name, links) and _has_rows(root / name)
    ]


def _near(root: Path, images: Iterable[str], folders: Sequence[str], links: LinkTargets) -> Iterator[str]:
    """Yield text files in the folders of images and of their labels."""
    trees = {
        tree
        for folder in folders
        for tree in (folder, str(PurePosixPath(label_name(f"{folder}/x"))).removesuffix("/x.txt"))
    }
    for tree in sorted(trees):
        if (root / tree).is_dir():
            yield from filter(_is_text, list_files(root, tree, links).names)
    parents = {str(PurePosixPath(name).parent) for image in images for name in (image, label_name(image))}
    for parent in sorted(parents):
        folder = root / parent
        if folder.is_dir():
            yield from sorted(
                (folder / name).relative_to(root).as_posix() for name in os.listdir(folder) if _is_text(name)
            )


def _everywhere(root: Path, stems: Iterable[str], links: LinkTargets) -> Iterator[str]:
    """Yield text files anywhere that have one of these stems."""
    among = set(stems)
    for name in list_files(root, links=links, skip_unreadable=True).names:
        if _is_text(name) and PurePosixPath(_stem(name)).name in among:
            yield name


def _is_text(name: str) -> bool:
    return name.lower().endswith(".txt")


def _files_of(root: Path, label: str) -> list[str]:
    """Return the files that a label file may belong to: of its stem, in the folder of the images or its folder."""
    found = []
    for stem in dict.fromkeys((_stem(_exchanged(label, "labels", "images")), _stem(label))):
        path = root / stem
        if path.parent.is_dir():
            names = sorted(name for name in os.listdir(path.parent) if _stem(name) == path.name and not _is_text(name))
            found += [(path.parent / name).relative_to(root).as_posix() for name in names]
    return found


def _has_rows(path: Path, *, if_empty: bool = False) -> bool:
    """Return whether the first line of a text file resembles a row of labels."""
    with path.open("rb") as stream:
        content = stream.read(_SNIFFED_BYTES)
    text = content.decode(text_encoding(content), errors="replace")
    first = next((line for line in text.splitlines() if line.strip()), None)
    return if_empty if first is None else resembles_row(first)


def _content(path: Path) -> list[bytes]:
    return path.read_bytes().split()


def _label_stems(image: str) -> tuple[str, ...]:
    """Return the paths without suffix that a label file of an image may have, the usual one first."""
    return tuple(dict.fromkeys((_stem(label_name(image)), _stem(image))))


def _exchanged(path: str, folder: str, other: str) -> str:
    before, separator, after = f"/{path}".rpartition(f"/{folder}/")
    return (f"{before}/{other}/{after}" if separator else f"/{path}").removeprefix("/")


def _stem(path: str) -> str:
    head, dot, tail = path.rpartition(".")
    return head if dot and "/" not in tail else path
