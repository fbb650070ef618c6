"""Sizes as text, both ways."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codetr.core.errors import UserError
from codetr.core.sizes import format_size, parse_size


@pytest.mark.parametrize(
    ("text", "size"), [("0", 0), ("12B", 12), ("1K", 1024), ("1.5 GiB", 3 << 29), ("500g", 500 << 30), ("2TB", 2 << 40)]
)
def test_sizes_are_read(text: str, size: int) -> None:
    assert parse_size(text, where="--max-size") == size


@pytest.mark.parametrize("text", ["", "G", "-1G", "1 X", "1e9", "five"])
def test_what_is_no_size_is_named(text: str) -> None:
    with pytest.raises(UserError, match=r"--max-size: '.*' is not a size"):
        parse_size(text, where="--max-size")


@given(size=st.integers(0, 1 << 60))
def test_a_size_that_is_shown_can_be_given(size: int) -> None:
    assert parse_size(format_size(size), where="") == pytest.approx(size, rel=0.06)
