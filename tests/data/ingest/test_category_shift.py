"""Category ids that count from 0 in one list and from 1 in the other are recognised, and others are not."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from codetr.data.ingest.category_shift import shift_of_ids, shown_ids
from codetr.data.validation.ids import ListedIds

IDS = st.sets(st.integers(-5, 40), min_size=1, max_size=12)


@given(IDS, st.sampled_from([1, -1]))
def test_a_shift_of_all_ids_is_recognised(known: set[int], shift: int) -> None:
    """Every object would have the class before or after the right one, and one class would be missing."""
    seen = {identifier - shift for identifier in known}
    assert shift_of_ids(seen & known, seen - known, known) == shift if seen - known else True


@given(IDS, IDS)
def test_a_shift_explains_every_id(seen: set[int], known: set[int]) -> None:
    shift = shift_of_ids(seen & known, seen - known, known)
    if shift:
        assert {identifier + shift for identifier in seen} <= known
        assert seen - known
    assert shift_of_ids(seen & known, {*(seen - known), None}, known) == 0


def test_a_single_unknown_category_is_no_shift() -> None:
    """Some files have objects of a class 0, the background, that is not listed."""
    assert shift_of_ids({1, 2}, {0}, {1, 2, 3, 4}) == 0
    assert shift_of_ids({1, 2, 3}, {0}, {1, 2, 3}) == 0
    assert shift_of_ids(set(), {0}, {1, 2, 3, 4}) == 1


def test_ids_are_shown_as_the_file_has_them() -> None:
    ids = ListedIds(["cat", "dog", 7])
    assert shown_ids([ids.resolve("dog"), ids.resolve("cat"), 7, None], ids) == "7, 'cat', 'dog'"
    assert shown_ids(range(1, 81), ListedIds([*range(1, 81)])) == "1 to 80"
    assert shown_ids([1, 3, 9, 12, 20, 31, 40], ListedIds([])) == "1, 3, 9, 12, 20 and 2 more"
