"""The errors that are reported as messages."""

from __future__ import annotations

from codetr.core.errors import did_you_mean, listed


def test_lists_in_messages_have_an_end() -> None:
    assert listed(["a", "b"], 2) == "a, b"
    assert listed(["a", "b", "c"], 1) == "a and 2 more"
    assert listed(["x: 1", "y: 2", "z: 3"], 2, "; ") == "x: 1; y: 2; and 1 more"


def test_similar_names_are_suggested_and_others_are_not() -> None:
    """A suggestion that is far off misleads more than a list."""
    assert did_you_mean("tinny", ["tiny", "huge"]) == "Did you mean 'tiny'? "
    assert did_you_mean("person", ["Person", "car"]) == "Did you mean 'Person'? "
    assert did_you_mean("cat", ["house", "tree"]) == ""
    assert did_you_mean("", []) == ""
