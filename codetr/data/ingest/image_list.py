"""Read the list of images of an annotation file: unique ids, candidate file names, declared sizes."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass
from itertools import compress
from typing import Any
from urllib.parse import urlsplit

from codetr.core.errors import UserError
from codetr.core.system.gc_pause import paused_gc
from codetr.data.formats.coco import CocoFile
from codetr.data.lvis import NEGATIVE, NOT_EXHAUSTIVE, Verified, listed_categories
from codetr.data.validation.findings import Findings, short
from codetr.data.validation.ids import ListedIds, as_integer


@dataclass(frozen=True)
class ImageEntry:
    """An image as listed.

    Attributes:
        image_id: its id.
        names: file names to try, relative to the image folder, best first; untrusted.
        size: declared (height, width), or None.
        named_by_url: the names come from a URL because there was no file name.
        verified: its verified classes in a federated dataset, or None.
    """

    image_id: int
    names: tuple[str, ...]
    size: tuple[int, int] | None
    named_by_url: bool = False
    verified: Verified | None = None


@paused_gc()
def read_image_entries(
    file: CocoFile, ids: ListedIds, category_ids: ListedIds, findings: Findings, where: str
) -> list[ImageEntry]:
    """Return the images of a file, in its order.

    Raises:
        UserError: two different files have one id, so that annotations cannot be assigned.
    """
    entries: dict[int, ImageEntry] = {}
    known = {category_ids.resolve(value.get("id")) for value in file.categories if isinstance(value, dict)}
    for position, value in enumerate(file.images):
        example = f"images[{position}]"
        identifier = ids.resolve(value.get("id")) if isinstance(value, dict) else None
        with findings.of_entry("images", position) as entry:
            if identifier is None:
                findings.add("image_malformed", f"{example}: {short(value)}")
                continue
            names, named_by_url = _file_names(value)
            if identifier in entries:
                first = entries[identifier].names
                if first != names:
                    problem = f"image id {identifier} is listed twice, for {_shown(first)} and for {_shown(names)}"
                    hint = "Its annotations could belong to either; give every image a unique id."
                    raise UserError(problem, where=where, hint=hint)
                findings.add("image_repeated", f"{example}: {identifier}")
                continue
            ids.report(value["id"], findings, example)
            verified, corrected = _verified(value, known, category_ids, findings, f"{example}: {identifier}")
            entry.value = {"id": identifier, **corrected}
            entries[identifier] = ImageEntry(identifier, names, _declared_size(value), named_by_url, verified)
    return list(entries.values())


def _verified(
    value: dict[str, Any], known: Set[int | None], category_ids: ListedIds, findings: Findings, example: str
) -> tuple[Verified | None, dict[str, list[Any]]]:
    """Return the verified categories of an image, and by field the lists that had unknown ones, without these."""
    if NEGATIVE not in value and NOT_EXHAUSTIVE not in value:
        return None, {}
    findings.add("image_federated", example)
    lists, corrected = [], {}
    for field in (NEGATIVE, NOT_EXHAUSTIVE):
        raw = listed_categories(value, field)
        numbers = [category_ids.resolve(item) for item in raw]
        is_known = [number is not None and number in known for number in numbers]
        unknown = [item for item, found in zip(raw, is_known, strict=True) if not found]
        if unknown:
            findings.add("image_verified_unknown", f"{example}: {field}: {short(unknown)}")
            corrected[field] = list(compress(raw, is_known))
        lists.append(tuple(sorted({number for number in numbers if number is not None and number in known})))
    return Verified(*lists), corrected


def _file_names(value: dict[str, Any]) -> tuple[tuple[str, ...], bool]:
    name = value.get("file_name")
    if isinstance(name, str) and name.strip():
        return (name,), False
    url = value.get("coco_url")
    if isinstance(url, str):
        try:
            parts = [part for part in urlsplit(url).path.split("/") if part]
        except ValueError:  # e.g. an unclosed IPv6 bracket
            parts = []
        if parts:
            # LVIS v1 lists images of two folders (train2017, val2017) in one file.
            return tuple(dict.fromkeys(("/".join(parts[-2:]), parts[-1]))), True
    return (), False


def _declared_size(value: dict[str, Any]) -> tuple[int, int] | None:
    size = as_integer(value.get("height")), as_integer(value.get("width"))
    if size[0] is None or size[1] is None or min(size[0], size[1]) <= 0:
        return None
    return size[0], size[1]


def _shown(names: tuple[str, ...]) -> str:
    return repr(names[0]) if names else "no file"
