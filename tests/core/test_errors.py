"""The errors that are reported as messages."""

from __future__ import annotations

from codetr.core.errors import listed


def test_lists_in_messages_have_an_end() -> None:
    assert listed(["a", "b"], 2) == "a, b"
    assert listed(["a", "b", "c"], 1) == "a and 2 more"
    assert listed(["x: 1", "y: 2", "z: 3"], 2, "; ") == "x: 1; y: 2; and 1 more"
