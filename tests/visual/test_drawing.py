"""Drawn boxes: position, colour, captions, and images of extreme sizes."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from codetr.visual.drawing import GREY, Box, class_colour, draw_boxes, elide


def grey(height: int, width: int) -> np.ndarray:
    return np.full((height, width, 3), 90, np.uint8)


def test_the_segmentation_is_at_the_box_and_in_the_colour_of_its_class() -> None:
    """A shifted box makes a good detector look bad."""
    picture = np.asarray(draw_boxes(grey(100, 200), [Box((50, 25, 150, 75), label=3)], long_side=400))
    assert picture.shape == (200, 400, 3)
    for y, x in ((100, 100), (100, 300), (50, 200), (150, 200)):  # the middles of the four sides, doubled
        assert tuple(picture[y, x]) == class_colour(3)
    assert tuple(picture[100, 200]) == (90, 90, 90)


def test_a_dashed_segmentation_has_gaps_and_crowds_are_grey() -> None:
    """Dashes distinguish false positives and missed objects from true positives."""
    boxes = [Box((20, 20, 180, 80), None, dashed=True)]
    side = np.asarray(draw_boxes(grey(100, 200), boxes, long_side=800))[80, 80:720]
    drawn = (side == GREY).all(axis=-1)
    assert 0.3 < drawn.mean() < 0.8


@pytest.mark.parametrize("size", [(1, 1), (3, 2), (1, 900), (2000, 3)])
def test_images_of_unreasonable_sizes_can_be_drawn(size: tuple[int, int]) -> None:
    """One extreme image does not end a long evaluation."""
    boxes = [Box((0, 0, size[1], size[0]), 0, "a caption longer than the image"), Box((-5, -5, 1e4, 1e4), 1, "b")]
    picture = draw_boxes(grey(*size), boxes, long_side=300)
    assert max(picture.size) <= 300


def test_captions_at_one_position_do_not_cover_each_other() -> None:
    """Several boxes around one object are common; overlapping captions would be unreadable."""
    one = draw_boxes(grey(200, 300), [Box((100, 60, 200, 160), 0, "first 0.90")], long_side=600)
    both = draw_boxes(
        grey(200, 300),
        [Box((100, 60, 200, 160), 1, "second 0.80"), Box((100, 60, 200, 160), 0, "first 0.90")],
        long_side=600,
    )
    caption = (np.asarray(one) == class_colour(0)).all(axis=-1)
    caption[118:, :] = False  # above the box is the caption alone
    assert caption.sum() > 500
    assert ((np.asarray(both) == class_colour(0)).all(axis=-1) & caption).sum() == caption.sum()


def test_colours_of_many_classes_differ() -> None:
    """Classes with neighbouring labels would look the same."""
    colours = [class_colour(label) for label in range(1203)]
    assert all(a != b for a, b in itertools.pairwise(colours))
    assert len(set(colours)) > 1000


def test_colours_of_the_first_classes_are_clearly_different() -> None:
    """Of ten classes, three were magentas that nobody could tell apart."""
    colours = np.array([class_colour(label) for label in range(20)], float)
    distances = np.linalg.norm(colours[:, None] - colours[None], axis=-1)
    assert distances[np.triu_indices(20, 1)].min() > 55


def test_names_are_put_on_one_short_line() -> None:
    """Class names come from annotation files: line breaks and control characters would break the layout."""
    assert elide("two\nlines\x00", 20) == "two�lines�"
    assert elide("x" * 50, 10) == "x" * 9 + "…"


def test_a_mask_is_tinted_in_the_colour_of_its_class_and_nowhere_else() -> None:
    """The image stays visible under the mask, and the mask has the right shape."""
    mask = np.zeros((100, 200), bool)
    mask[30:70, 60:90] = True
    picture = np.asarray(draw_boxes(grey(100, 200), [Box((50, 20, 150, 80), 3, mask=mask)], long_side=200)).astype(int)
    inside, outside = picture[50, 75], picture[50, 120]
    assert tuple(outside) == (90, 90, 90)
    target_colour = np.array(class_colour(3))
    assert (np.abs(inside - target_colour) < np.abs(outside - target_colour))[target_colour != 90].all()
    assert tuple(inside) != tuple(target_colour)


def test_the_outline_of_a_tiny_object_does_not_cover_it() -> None:
    """In a picture of a large image an object may be a few pixels wide."""
    picture = np.asarray(draw_boxes(grey(400, 400), [Box((100, 100, 110, 110), 0)], long_side=960))
    assert (picture[244:260, 244:260] == 90).all(axis=-1).mean() > 0.9


def test_a_caption_wider_than_the_picture_is_cut_at_its_end() -> None:
    """Centred on the picture, both its ends would be missing, the score included."""
    wide = np.asarray(draw_boxes(grey(300, 100), [Box((0, 100, 50, 200), 0, "m" * 60)], long_side=300))
    short = np.asarray(draw_boxes(grey(300, 100), [Box((0, 100, 50, 200), 0, "m" * 4)], long_side=300))
    row = slice(80, 99)
    assert (wide[row, :20] == short[row, :20]).all()
