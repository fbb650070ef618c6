"""Captions of boxes: where they are, and that pictures with many of them can be read."""

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codetr.visual.captions import CaptionLayout, Rectangle

SIZE = (200, 120)
CAPTION = (50.0, 12.0)


def shared(a: Rectangle, b: Rectangle) -> float:
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    return max(width, 0) * max(height, 0)


def corners(values: tuple[float, float, float, float]) -> Rectangle:
    x, y, width, height = values
    return x, y, x + width, y + height


BOXES = st.lists(
    st.tuples(st.floats(0, 190), st.floats(0, 110), st.floats(2, 200), st.floats(2, 120)).map(corners),
    min_size=1,
    max_size=30,
)


@settings(max_examples=60, deadline=None)
@given(BOXES, st.tuples(st.floats(8, 90), st.floats(8, 20)))
def test_captions_are_in_the_picture_cover_no_other_and_leave_most_of_it(
    boxes: list[Rectangle], caption: tuple[float, float]
) -> None:
    """A caption below another one cannot be read, and behind too many the objects cannot be seen."""
    layout = CaptionLayout(SIZE, boxes)
    spots = [position.spot for k in range(len(boxes)) if (position := layout.place(k, caption))]
    assert spots
    assert all(
        x1 >= -0.01 and y1 >= -0.01 and x2 <= SIZE[0] + 0.01 and y2 <= SIZE[1] + 0.01 for x1, y1, x2, y2 in spots
    )
    assert all(shared(a, b) <= 0.5 for a, b in combinations(spots, 2))
    assert len(spots) == 1 or sum(shared(spot, spot) for spot in spots) <= SIZE[0] * SIZE[1] / 3


@pytest.mark.parametrize(
    ("box", "corner"),
    [
        ((60, 40, 150, 90), (60, 28)),  # above
        ((60, 0, 150, 118), (60, 0)),  # as high as the picture: inside
        ((190, 50, 198, 58), (150, 38)),  # at the right border: above, moved into the picture
        ((2, 2, 10, 10), (2, 10)),  # in the corner: below, not over a small object
    ],
)
def test_a_single_caption_is_at_its_box_and_does_not_hide_it(box: Rectangle, corner: tuple[float, float]) -> None:
    """A caption over a small object, or far from its box, makes the picture useless."""
    position = CaptionLayout(SIZE, [box]).place(0, CAPTION)
    assert position is not None
    assert position.leader is None
    assert position.spot[:2] == pytest.approx(corner)


def test_a_caption_avoids_small_objects_nearby() -> None:
    """The usual place, above the box, may be where another object is."""
    small = (62.0, 29.0, 72.0, 37.0)
    position = CaptionLayout(SIZE, [(60, 40, 150, 90), small]).place(0, CAPTION)
    assert position is not None
    assert shared(position.spot, small) == 0


def test_where_there_is_no_room_at_a_box_a_line_leads_to_it() -> None:
    """Several detections of one small object each keep their caption."""
    box = (90.0, 55.0, 98.0, 63.0)
    layout = CaptionLayout(SIZE, [box] * 9)
    positions = [position for k in range(9) if (position := layout.place(k, CAPTION))]
    lines = [position.leader for position in positions if position.leader is not None]
    assert lines
    for x1, y1, x2, y2 in lines:
        assert box[0] <= x2 <= box[2]
        assert box[1] <= y2 <= box[3]
        assert any(s[0] <= x1 <= s[2] and s[1] <= y1 <= s[3] for s in (position.spot for position in positions))
