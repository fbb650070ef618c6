"""Read the categories of an annotation file: names by id, and frequency groups of LVIS."""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import Any

from codetr.core.errors import UserError
from codetr.data.lvis import FREQUENCIES, Frequency
from codetr.data.validation.findings import Findings, short
from codetr.data.validation.ids import ListedIds


def read_categories(values: list[Any], ids: ListedIds, findings: Findings, where: str) -> dict[int, str]:
    """Return category names by id, in ascending order of ids; several may have one name.

    Raises:
        UserError: one id with two names, or no usable category.
    """
    names: dict[int, str] = {}
    for position, value in enumerate(values):
        identifier = ids.resolve(value.get("id")) if isinstance(value, dict) else None
        with findings.of_entry("categories", position) as entry:
            if identifier is None:
                findings.add("category_malformed", f"categories[{position}]: {short(value)}")
                continue
            corrected: dict[str, Any] = {"id": identifier}
            ids.report(value["id"], findings, f"categories[{position}]", "category")
            name = value.get("name")
            if not isinstance(name, str) or not name.strip() or not name.strip().isprintable():
                corrected["name"] = name = f"category {identifier}"
                findings.add("category_renamed", f"categories[{position}]: {name}")
            name = name.strip()
            if identifier not in names:
                entry.value = corrected
            elif names[identifier] == name:
                findings.add("category_repeated", f"categories[{position}]: {identifier} '{name}'")
            else:
                problem = f"category id {identifier} is listed twice, as '{names[identifier]}' and as '{name}'"
                raise UserError(problem, where=where, hint="Give every category a unique id.")
            names[identifier] = name
    if not names:
        raise UserError("has no usable category", where=where, hint="Every category needs an id and a name.")
    return dict(sorted(names.items()))


def unique_names(names: Mapping[int, str], used: Set[int], findings: Findings) -> dict[int, str]:
    """Return category names by id, each of them once; of several categories with one name, one with objects keeps it.

    Args:
        names: by id.
        used: ids of categories that have objects. Tools add an empty category for a group of classes.
        findings: receives what was renamed.
    """
    taken: set[str] = set()
    unique = {}
    for identifier in sorted(names, key=lambda identifier: (identifier not in used, identifier)):
        name = chosen = names[identifier]
        while chosen in taken:
            chosen = f"{chosen} ({identifier})"
        if chosen != name:
            with findings.of_entry("category names", identifier) as entry:
                findings.add("category_renamed", f"category {identifier}: '{name}' is taken, now '{chosen}'")
                entry.value = {"name": chosen}
        taken.add(chosen)
        unique[identifier] = chosen
    return dict(sorted(unique.items()))


def read_frequencies(
    values: list[Any], categories: Mapping[int, str], ids: ListedIds, findings: Findings
) -> dict[int, Frequency]:
    """Return the frequencies of categories by id, where the file has them; of a repeated category the first counts."""
    frequencies: dict[int, Frequency] = {}
    for position, value in enumerate(values):
        identifier = ids.resolve(value.get("id")) if isinstance(value, dict) else None
        if identifier is None or identifier not in categories or identifier in frequencies:
            continue
        group, count = value.get("frequency"), value.get("image_count")
        if group not in (None, *FREQUENCIES) or (count is not None and (type(count) is not int or count < 0)):
            with findings.of_entry("frequencies", position) as entry:
                findings.add("category_frequency_invalid", f"categories[{position}]: {short(group)}, {short(count)}")
                group = group if group in tuple(FREQUENCIES) else None
                count = count if type(count) is int and count >= 0 else None
                entry.value = {"frequency": group, "image_count": count}
        if group is not None or count is not None:
            frequencies[identifier] = Frequency(group, count)
    return frequencies
