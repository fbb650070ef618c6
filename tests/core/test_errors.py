"""The errors that are reported as messages."""

from __future__ import annotations

import pytest

from codetr.core.errors import did_you_mean, listed, similar_names


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


RECIPES = ["co_dino_5scale_r50_1x_coco", "co_dino_5scale_lsj_r50_1x_coco", "co_deformable_detr_r50_1x_coco", "tiny"]


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("co_dino_r50", RECIPES[:2]),
        ("CO-DINO-R50", RECIPES[:2]),
        ("co_deformable", [RECIPES[2]]),
        ("co_dino_5scale_r50_1x_cocoo", [RECIPES[0], RECIPES[1]]),
        ("tyni", ["tiny"]),
        ("tiny.", ["tiny"]),
        ("yolov8n", []),
        ("r", []),
        ("", []),
        ("___", []),
    ],
)
def test_a_name_of_which_parts_are_left_out_is_recognised(given: str, meant: list[str]) -> None:
    """Few letters of a long name are equal to those of its short form."""
    assert similar_names(given, RECIPES) == meant
