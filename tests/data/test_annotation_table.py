"""Annotations as columns: rows keep their values and segmentations, however they are selected and concatenated."""

from __future__ import annotations

import numpy as np
import pytest

from codetr.data.annotation_table import AnnotationTable, CheckedAnnotation, first_equal_row
from tests.support.data.annotation_rows import rows


def annotation(identifier: int) -> CheckedAnnotation:
    polygon = [[identifier, 2, 3.25, 4, 5, 6]] if identifier % 3 else None
    box = (identifier, 2.0, 3.5, 4.0)
    return CheckedAnnotation(identifier, 7, 3, box, 14.0, identifier % 2 == 0, identifier % 2 == 1, polygon)


def test_rows_are_the_annotations() -> None:
    annotations = [annotation(k) for k in range(1, 9)]
    assert rows(AnnotationTable.of(annotations)) == annotations
    assert rows(AnnotationTable.of([])) == []


def test_selected_and_concatenated_rows_keep_their_segmentations() -> None:
    """A row would get the polygon of another object, of its source or of another one."""
    first, second = (AnnotationTable.of([annotation(k) for k in part]) for part in (range(1, 6), range(6, 12)))
    table = AnnotationTable.concatenate([first.take(np.array([4, 0, 2])), second, first.take(np.arange(5) == 3)])
    assert rows(table) == [annotation(k) for k in (5, 1, 3, *range(6, 12), 4)]
    assert len(table.texts) == 2, "a text is an annotation file; it must not be referenced once for every part"
    reverse = np.arange(len(table))[::-1]
    assert rows(table.take(reverse)) == rows(table)[::-1]


def test_segmentations_are_joined_in_batches() -> None:
    """Lengths that are off at the end of a batch would shift the segmentations of all later objects."""
    table = AnnotationTable.of([annotation(1 + k % 9) for k in range(40_000)])
    batches = list(table.segmentation_texts())
    assert len(batches) > 1
    assert sum(len(lengths) for _, lengths in batches) == len(table)
    assert all(len(joined) == lengths.sum() for joined, lengths in batches)
    assert rows(table)[-3:] == [annotation(1 + k % 9) for k in range(39_997, 40_000)]


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ([[]], []),
        ([[1, 2, 1, 1]], [-1, -1, 0, 0]),
        ([[1, 2, 1, 1], [5.0, 5.0, 5.5, 5.0]], [-1, -1, -1, 0]),
        ([[0.0, -0.0]], [-1, 0]),
    ],
    ids=["none", "one column", "two columns", "negative zero"],
)
def test_repeated_rows_point_to_the_first(columns: list[list[float]], expected: list[int]) -> None:
    assert first_equal_row([np.array(column) for column in columns]).tolist() == expected
