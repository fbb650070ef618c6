"""Category ids that count from another number in the annotations than in the list of categories."""

from __future__ import annotations

from collections.abc import Iterable, Set

from codetr.core.errors import listed
from codetr.data.validation.findings import Findings
from codetr.data.validation.ids import ListedIds


def note_shifted_categories(
    used: Set[int], unknown: Set[int | None], known: Set[int], ids: ListedIds, findings: Findings
) -> None:
    """Report category ids that count from another number in the annotations.

    Args:
        used: see `shift_of_ids`, also for the next two.
        unknown: ids that only annotations have.
        known: ids in the list of categories.
        ids: the list of categories, as it is written.
        findings: receives what is found.
    """
    if shift_of_ids(used, unknown, known):
        seen = shown_ids(used | unknown, ids)
        findings.add("category_ids_shifted", f"annotations refer to {seen}, the categories are {shown_ids(known, ids)}")


def shift_of_ids(used: Set[int], unknown: Set[int | None], known: Set[int]) -> int:
    """Return what has to be added to the category ids of annotations if they count from another number; else 0.

    One category that is not listed may be an error by itself. So all ids have to be unknown, or they have to become
    exactly those that are listed.

    Args:
        used: ids that annotations have and the list of categories, too.
        unknown: ids that only annotations have; None for one that is no number.
        known: ids in the list of categories.
    """
    numbers = {identifier for identifier in unknown if identifier is not None}
    if not numbers or len(numbers) < len(unknown):
        return 0
    for shift in (1, -1):
        moved = {identifier + shift for identifier in used | numbers}
        if moved <= known and (not used or moved == known):
            return shift
    return 0


def shown_ids(identifiers: Iterable[int | None], ids: ListedIds) -> str:
    """Return ids as the file has them, for a message: "1 to 80", or the first of them."""
    numbers = sorted(identifier for identifier in identifiers if identifier is not None)
    if len(numbers) > 2 and not ids.any_numbered and numbers[-1] - numbers[0] == len(numbers) - 1:
        return f"{numbers[0]} to {numbers[-1]}"
    return listed([ids.as_written(identifier) for identifier in numbers], 5)
