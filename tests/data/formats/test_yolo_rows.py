"""Rows of YOLO label files: boxes, polygons, and the predictions of trackers."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codetr.data.formats.yolo_rows import are_triangles, end_with_track_ids, keypoints_in, to_annotation

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


@st.composite
def pose_rows(draw: st.DrawFn, visibility: bool) -> list[str]:
    """Rows of a pose dataset: boxes in the image, with as many keypoints in all of them."""
    number = draw(st.integers(3, 8))
    rows = []
    for _ in range(draw(st.integers(3, 6))):
        width, height = draw(st.floats(0.02, 0.3)), draw(st.floats(0.02, 0.3))
        left, top = draw(st.floats(0.35, 0.7)), draw(st.floats(0.35, 0.7))
        values = [left + width / 2, top + height / 2, width, height]
        for _ in range(number):
            seen = draw(st.integers(0, 2)) if visibility else 2
            point = [left + draw(st.floats(0, 1)) * width, top + draw(st.floats(0, 1)) * height] if seen else [0, 0]
            values += [*point, seen] if visibility else point
        rows.append(" ".join(map(str, (0, *values))))
    return rows


@given(pose_rows(visibility=True))
def test_keypoints_with_visibilities_are_certain(rows: list[str]) -> None:
    """With an even number of columns they were read as polygons, without a word."""
    found, certain = keypoints_in(rows)
    assert found >= 3
    assert certain


@given(pose_rows(visibility=False))
def test_keypoints_without_visibilities_are_likely(rows: list[str]) -> None:
    found, certain = keypoints_in(rows)
    assert found >= 3
    assert not certain


@given(
    st.lists(
        st.tuples(
            st.floats(0.1, 0.9), st.floats(0.1, 0.9), st.floats(0.01, 0.1), st.floats(0.01, 0.1), st.floats(0, 6)
        ),
        min_size=3,
        max_size=6,
    ),
    st.integers(3, 36),
)
def test_polygons_with_as_many_points_are_no_keypoints(
    ellipses: list[tuple[float, float, float, float, float]], points: int
) -> None:
    """Oriented boxes have four points, and circles that a tool draws always as many."""
    rows = []
    for x, y, width, height, start in ellipses:
        angles = [start + 2 * math.pi * k / points for k in range(points)]
        values = [v for angle in angles for v in (x + width * math.cos(angle), y + height * math.sin(angle))]
        rows.append(" ".join(map(str, (0, *values))))
    assert keypoints_in(rows) == (0, False)


def test_boxes_and_polygons_of_several_lengths_are_no_keypoints() -> None:
    triangle, polygon, box = "0 1 0.5 0.5 0.2 0.4 0.9", "0 0.1 0.1 0.5 0.1 0.5 0.5 0.1 0.5", "0 0.5 0.5 0.2 0.4"
    rectangle = "0 0.1 0.1 0.2 0.1 0.2 0.2 0.1 0.2"
    for rows in ([triangle] * 3, [triangle, polygon] * 3, [box] * 3, [rectangle] * 3, [], ["x"]):
        assert keypoints_in(rows) == (0, False)
