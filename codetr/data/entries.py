"""Categories and images as an annotation file lists them: checked, identified, ready to be looked up."""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from codetr.core.errors import UserError
from codetr.core.gc_pause import collecting_later
from codetr.data.formats.coco import CocoFile
from codetr.data.lvis import FREQUENCIES, NEGATIVE, NOT_EXHAUSTIVE, Frequency, Verified, listed_categories
from codetr.data.validation.findings import Findings, short
from codetr.data.validation.ids import ImageIds, as_integer


@dataclass(frozen=True)
class ImageEntry:
    """An image as listed.

    Attributes:
        image_id: its id.
        names: file names to try, relative to the image folder, best first; from outside, so not to be trusted.
        size: declared (height, width), or None.
        named_by_url: the names come from a URL because there was no file name.
        verified: what is known about its classes in a federated dataset, or None.
    """

    image_id: int
    names: tuple[str, ...]
    size: tuple[int, int] | None
    named_by_url: bool = False
    verified: Verified | None = None


def read_categories(values: list[Any], findings: Findings, where: str) -> dict[int, str]:
    """Category names by id, in ascending order of ids. Names are made unique.

    Raises:
        UserError: one id with two names, or no usable category.
    """
    names: dict[int, str] = {}
    for position, value in enumerate(values):
        identifier = as_integer(value.get("id")) if isinstance(value, dict) else None
        if identifier is None:
            findings.add("category_malformed", f"categories[{position}]: {short(value)}")
            continue
        if not isinstance(value["id"], int):
            findings.add("category_id_converted", f"categories[{position}]: {value['id']!r}")
        name = value.get("name")
        if not isinstance(name, str) or not name.strip() or not name.strip().isprintable():
            name = f"category {identifier}"
            findings.add("category_renamed", f"categories[{position}]: {name}")
        name = name.strip()
        if identifier in names:
            if names[identifier] != name:
                problem = f"category id {identifier} is listed twice, as '{names[identifier]}' and as '{name}'"
                raise UserError(problem, where=where, hint="Give each category an id of its own.")
            findings.add("category_repeated", f"categories[{position}]: {identifier} '{name}'")
        names[identifier] = name
    if not names:
        raise UserError("has no usable category", where=where, hint="Every category needs an integer id and a name.")
    return _unique(dict(sorted(names.items())), findings)


def _unique(names: dict[int, str], findings: Findings) -> dict[int, str]:
    taken: set[str] = set()
    unique = {}
    for identifier, name in names.items():
        chosen = name
        while chosen in taken:
            chosen = f"{chosen} ({identifier})"
        if chosen != name:
            findings.add("category_renamed", f"category {identifier}: '{name}' is taken, now '{chosen}'")
        taken.add(chosen)
        unique[identifier] = chosen
    return unique


def read_frequencies(values: list[Any], categories: Mapping[int, str], findings: Findings) -> dict[int, Frequency]:
    """How common categories are, by id, where the file says so; of a category listed twice the first counts."""
    frequencies: dict[int, Frequency] = {}
    for position, value in enumerate(values):
        identifier = as_integer(value.get("id")) if isinstance(value, dict) else None
        if identifier is None or identifier not in categories or identifier in frequencies:
            continue
        group, count = value.get("frequency"), value.get("image_count")
        if group not in (None, *FREQUENCIES) or (count is not None and (type(count) is not int or count < 0)):
            findings.add("category_frequency_invalid", f"categories[{position}]: {short(group)}, {short(count)}")
            group = group if group in tuple(FREQUENCIES) else None
            count = count if type(count) is int and count >= 0 else None
        if group is not None or count is not None:
            frequencies[identifier] = Frequency(group, count)
    return frequencies


@collecting_later()
def read_image_entries(file: CocoFile, ids: ImageIds, findings: Findings, where: str) -> list[ImageEntry]:
    """The images of a file, in its order.

    Raises:
        UserError: one id for two different files, so that nobody can tell whose the annotations are.
    """
    entries: dict[int, ImageEntry] = {}
    known = {as_integer(value.get("id")) for value in file.categories if isinstance(value, dict)}
    for position, value in enumerate(file.images):
        example = f"images[{position}]"
        identifier = ids.resolve(value.get("id")) if isinstance(value, dict) else None
        if identifier is None:
            findings.add("image_malformed", f"{example}: {short(value)}")
            continue
        names, named_by_url = _file_names(value)
        if identifier in entries:
            first = entries[identifier].names
            if first != names:
                problem = f"image id {identifier} is listed twice, for {_shown(first)} and for {_shown(names)}"
                hint = "Its annotations could belong to either; give each image an id of its own."
                raise UserError(problem, where=where, hint=hint)
            findings.add("image_repeated", f"{example}: {identifier}")
            continue
        ids.report(value["id"], findings, example)
        verified = _verified(value, known, findings, f"{example}: {identifier}")
        entries[identifier] = ImageEntry(identifier, names, _declared_size(value), named_by_url, verified)
    return list(entries.values())


def _verified(value: dict[str, Any], known: Set[int | None], findings: Findings, example: str) -> Verified | None:
    if NEGATIVE not in value and NOT_EXHAUSTIVE not in value:
        return None
    findings.add("image_federated", example)
    lists = []
    for field in (NEGATIVE, NOT_EXHAUSTIVE):
        raw = listed_categories(value, field)
        numbers = [as_integer(item) for item in raw]
        unknown = [item for item, number in zip(raw, numbers, strict=True) if number is None or number not in known]
        if unknown:
            findings.add("image_verified_unknown", f"{example}: {field}: {short(unknown)}")
        lists.append(tuple(sorted({number for number in numbers if number is not None and number in known})))
    return Verified(*lists)


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
