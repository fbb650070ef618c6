"""Rows of YOLO label files: boxes, polygons, and the predictions of trackers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codetr.data.formats.yolo_rows import are_triangles, end_with_track_ids, to_annotation

SHARE = st.floats(0.01, 0.99).map(lambda value: round(value, 4))


@given(st.lists(st.tuples(SHARE, SHARE, SHARE, SHARE, SHARE, st.integers(0, 40)), min_size=1, max_size=5))
def test_boxes_of_a_tracker_are_no_triangles(rows: list[tuple[float, ...]]) -> None:
    """class cx cy width height confidence id: as a polygon, its third point would be (confidence, id)."""
    texts = [" ".join(map(str, (0, *row))) for row in rows]
    assert end_with_track_ids(texts)
    for text, row in zip(texts, rows, strict=True):
        plain = to_annotation(" ".join(map(str, (0, *row[:4]))), 100, 200)
        assert to_annotation(text, 100, 200, tracked=True) == plain


@given(st.lists(st.tuples(SHARE, SHARE, SHARE, SHARE, SHARE, SHARE), min_size=1, max_size=5))
def test_triangles_are_triangles(rows: list[tuple[float, ...]]) -> None:
    texts = [" ".join(map(str, (0, *row))) for row in rows]
    assert not end_with_track_ids(texts)
    annotation = to_annotation(texts[0], 100, 200)
    assert annotation is not None
    assert len(annotation["segmentation"][0]) == 6


def test_only_triangles_are_suspicious() -> None:
    """A dataset of boxes with two more numbers in each row is read as one of triangles."""
    triangle, polygon, box = "0 1 0.5 0.5 0.2 0.4 0.9", "0 0.1 0.1 0.5 0.1 0.5 0.5 0.1 0.5", "0 0.5 0.5 0.2 0.4"
    assert are_triangles([triangle] * 3)
    assert are_triangles([triangle, box] * 3)
    assert not are_triangles([triangle] * 2)
    assert not are_triangles([triangle, polygon] * 3)
    assert not are_triangles([box] * 3)


@pytest.mark.parametrize(
    ("rows", "tracked"),
    [
        (["0 0.1 0.1 0.5 0.1 0.5 0.5 0.1 0.5 0.9 3", "0 0.1 0.1 0.5 0.1 0.5 0.5 0.8 1"], True),
        (["0 0.1 0.1 0.5 0.1 0.5 0.5 0.4 1", "0 0.1 0.1 0.5 0.1 0.5 0.5 0.3 1.0"], False),
        (["0 0.5 0.5 0.2 0.2", "0 0.5 0.5 0.2 0.2 0.9 7"], True),
        (["0 0.5 0.5 0.2 0.2"], False),
        (["", "0 a b c d e f", "0 0.5 0.5 0.2 0.2 0.9"], False),
    ],
    ids=["polygons", "polygons_at_the_border", "mixed_with_boxes", "boxes", "malformed"],
)
def test_rows_of_other_lengths(rows: list[str], tracked: bool) -> None:
    assert end_with_track_ids(rows) == tracked
