"""Checks on all objects at once, against the same checks one by one."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from codetr.data.segmentation import encode_mask, mask_bounding_box
from codetr.doctor import box_checks
from codetr.doctor.box_checks import DUPLICATE_IOU, SplitObjects
from codetr.doctor.segmentations import Segmentations, measure_segmentations

# Few positions and sizes, so that boxes coincide often.
BOX = st.tuples(*[st.sampled_from([0.0, 0.5, 1.0, 40.0])] * 2, *[st.sampled_from([30.0, 30.5, 31.0, 60.0])] * 2)
OBJECT = st.tuples(st.integers(0, 2), BOX, st.integers(0, 1), st.booleans())


def objects_of(
    listed: list[tuple[int, tuple[float, ...], int, bool]], areas: list[float] | None = None
) -> SplitObjects:
    listed = sorted(listed, key=lambda entry: entry[0])
    boxes_xywh = np.array([entry[1] for entry in listed], float).reshape(-1, 4)
    return SplitObjects(
        boxes_xywh=boxes_xywh,
        labels=np.array([entry[2] for entry in listed], np.int32),
        areas=boxes_xywh[:, 2:].prod(axis=1) if areas is None else np.array(areas, float),
        iscrowd=np.array([entry[3] for entry in listed], bool),
        boxes_xyxy=np.concatenate([boxes_xywh[:, :2], boxes_xywh[:, :2] + boxes_xywh[:, 2:]], axis=1),
        image_index=np.array([entry[0] for entry in listed], np.int64),
        sizes_wh=np.full((len(listed), 2), 100, np.int32),
    )


def iou(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    common = max(width, 0) * max(height, 0)
    return common / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - common)


@given(st.lists(OBJECT, max_size=12))
@settings(max_examples=200, deadline=None)
def test_copies_are_those_that_comparing_all_pairs_finds(
    listed: list[tuple[int, tuple[float, ...], int, bool]],
) -> None:
    """The walk from left to right leaves pairs out; none of those may be a copy."""
    objects = objects_of(listed)
    repeated = box_checks.find_repeated(objects)
    same_class, other_class = box_checks.find_near_copies(objects, repeated)
    for k in range(len(listed)):
        earlier = [j for j in range(k) if objects.image_index[j] == objects.image_index[k]]
        equal = [
            j
            for j in earlier
            if (objects.boxes_xywh[j] == objects.boxes_xywh[k]).all()
            and (objects.labels[j], objects.iscrowd[j]) == (objects.labels[k], objects.iscrowd[k])
        ]
        assert repeated[k] == (equal[0] if equal else -1)
        considered = [j for j in earlier if repeated[j] < 0 and not objects.iscrowd[j]]
        if repeated[k] >= 0 or objects.iscrowd[k]:
            considered = []
        near = [j for j in considered if iou(objects.boxes_xyxy[j], objects.boxes_xyxy[k]) >= DUPLICATE_IOU]
        for partner, same in ((same_class[k], True), (other_class[k], False)):
            possible = [j for j in near if (objects.labels[j] == objects.labels[k]) == same]
            assert (partner in possible) if possible else partner == -1


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ((-0.9, 0, 50, 50), set()),
        ((-1.1, 0, 50, 50), {"exceeds"}),
        ((60, 60, 41.5, 5), {"exceeds"}),
        ((99.5, 10, 30, 30), {"exceeds", "tiny"}),
        ((10, 10, 0.5, 40), {"tiny"}),
        ((10, 10, 2, 40), set()),
        ((10, 10, 2, 40.5), {"elongated"}),
        ((0, 0.5, 100, 99), {"whole"}),
        ((0, 0, 100, 97), set()),
        ((10, 10, 3.9, 4), {"small"}),
        ((10, 10, 4, 4), set()),
    ],
)
def test_limits(box: tuple[float, ...], expected: set[str]) -> None:
    """In an image of 100 by 100 pixels that is enlarged twice."""
    objects = objects_of([(0, box, 0, False)])
    found = {
        "exceeds": box_checks.exceeds_image(objects),
        "tiny": box_checks.is_tiny(objects),
        "elongated": box_checks.is_elongated(objects),
        "whole": box_checks.covers_image(objects),
        "small": box_checks.is_small_at_input(objects, np.array([2.0])),
    }
    assert {name for name, mask in found.items() if mask[0]} == expected


def index_of(segmentations: Sequence[Any]) -> dict[str, NDArray[np.generic]]:
    texts = [
        b"" if segmentation is None else json.dumps(segmentation, separators=(",", ":")).encode()
        for segmentation in segmentations
    ]
    return {
        "segmentations": np.frombuffer(b"".join(texts), np.uint8),
        "segmentation_offsets": np.concatenate([[0], np.cumsum([len(text) for text in texts])]),
    }


SQUARE: list[float] = [10, 20, 40, 20, 40, 60, 10, 60]
SEGMENTATIONS: list[Any] = [
    None,
    [SQUARE],
    encode_mask(np.pad(np.ones((5, 7), bool), ((3, 92), (2, 91)))),
    [[50.5, 1e-3, 70.25, 1, 60, 90], SQUARE],
    None,
    {"size": [100, 100], "counts": [200, 3, 9797]},
    [[0, 0, 1.5, 0, 0, 1.5]],
]
EXTENTS = [None, [10, 20, 40, 60], [2, 3, 9, 8], [10, 1e-3, 70.25, 90], None, [2, 0, 3, 3], [0, 0, 1.5, 1.5]]
AREAS = [None, 1200.0, 35, 1200 + abs(19.75 * 89.999 - 9.5 * 0.999) / 2, None, 3, 1.125]


@pytest.mark.parametrize("chunk", [1, 60, 1 << 20])
def test_segmentations_are_measured_as_one_by_one(chunk: int) -> None:
    """Polygons and run-length codes in turn, several polygons an object, and a border between chunks anywhere."""
    found = measure_segmentations(index_of(SEGMENTATIONS), chunk=chunk)
    for k, segmentation in enumerate(SEGMENTATIONS):
        assert found.present[k] == (segmentation is not None)
        if segmentation is not None:
            assert found.extents_xyxy[k].tolist() == EXTENTS[k]
            x, y, width, height = mask_bounding_box(segmentation, 100, 100)
            np.testing.assert_allclose(found.extents_xyxy[k], [x, y, x + width, y + height])
            assert found.areas[k] == pytest.approx(AREAS[k], rel=1e-9)


def test_no_object_at_all() -> None:
    """A split whose annotations were all dropped."""
    objects, segmentations = objects_of([]), measure_segmentations(index_of([]))
    assert not segmentations.present.any()
    assert len(box_checks.find_near_copies(objects, box_checks.find_repeated(objects))[0]) == 0
    assert len(box_checks.area_disagrees_with_segmentation(objects, segmentations)) == 0


@pytest.mark.parametrize(
    ("box", "disagrees"),
    [
        ((10, 20, 30, 40), False),
        ((8, 20, 32, 40), False),  # two pixels
        ((5, 20, 35, 40), True),
        ((10, 20, 30, 44.2), False),  # within a tenth of the side
        ((10, 20, 30, 45), True),
    ],
)
def test_a_box_that_disagrees_with_its_segmentation(box: tuple[float, ...], disagrees: bool) -> None:
    segmentations = measure_segmentations(index_of([[SQUARE]]))
    assert box_checks.box_disagrees_with_segmentation(objects_of([(0, box, 0, False)]), segmentations).tolist() == [
        disagrees
    ]


def test_a_segmentation_beyond_the_border_agrees_with_a_box_that_is_clipped_there() -> None:
    """Both say the same about the image."""
    segmentations = measure_segmentations(index_of([[[80, 80, 120, 80, 120, 95, 80, 95]]]))
    objects = objects_of([(0, (80, 80, 20, 15), 0, False)])
    assert box_checks.segmentation_exceeds_image(objects, segmentations).tolist() == [True]
    assert box_checks.box_disagrees_with_segmentation(objects, segmentations).tolist() == [False]


def areas_disagree(area: float, segmentation: list[list[float]]) -> tuple[bool, bool]:
    objects = objects_of([(0, (10, 20, 30, 40), 0, False)], [area])
    segmentations: Segmentations = measure_segmentations(index_of([segmentation]))
    return (
        bool(box_checks.area_disagrees(objects, segmentations)[0]),
        bool(box_checks.area_disagrees_with_segmentation(objects, segmentations)[0]),
    )


def test_areas_against_segmentations() -> None:
    """Within a fifth is rounding; twice the box is not possible; polygons that overlap count once or twice."""
    assert areas_disagree(1200, [SQUARE]) == (False, False)
    assert areas_disagree(970, [SQUARE]) == (False, False)
    assert areas_disagree(900, [SQUARE]) == (False, True)
    assert areas_disagree(2400, [SQUARE]) == (True, False)
    assert areas_disagree(1200, [SQUARE, SQUARE]) == (False, False)
    assert areas_disagree(500, [SQUARE, SQUARE]) == (False, True)
