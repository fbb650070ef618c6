"""Place captions at their boxes: none covers another, and objects stay visible."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Rectangle = tuple[float, float, float, float]
"""Left, top, right and bottom in pixels."""

_RANK_COST, _LEADER_COST, _DISTANCE_COST = 0.01, 0.6, 0.1
"""Costs of a position, where 1 is that of hiding an object completely: by its rank among those that touch the box, of
a line to the box, and of the distance in heights of the caption."""

_MOST_COVERED = 1 / 3
"""Share of a picture that captions may cover: behind more, nothing could be seen."""

_DISTANCES = (1.5, 3.0, 4.5, 6.0)
"""Distances of a caption that has a line to its box, in heights of the caption."""


@dataclass(frozen=True)
class CaptionPosition:
    """Where a caption is drawn.

    Attributes:
        spot: its rectangle.
        leader: ends (x1, y1, x2, y2) of a line to its box; None if it touches the box.
    """

    spot: Rectangle
    leader: Rectangle | None = None


class CaptionLayout:
    """Positions of the captions of one picture, the most important first.

    Args:
        size: (width, height) of the picture.
        boxes_xyxy: every box of the picture, in pixels.
    """

    def __init__(self, size: tuple[int, int], boxes_xyxy: Sequence[Rectangle]) -> None:
        self._size = size
        self._boxes = np.asarray(boxes_xyxy, float).reshape(-1, 4)
        self._areas = (self._boxes[:, 2:] - self._boxes[:, :2]).clip(min=1).prod(axis=1)
        self._taken = np.empty((0, 4))
        self._room = _MOST_COVERED * size[0] * size[1]

    def place(self, k: int, caption: tuple[float, float]) -> CaptionPosition | None:
        """Return the position of the caption of a box that hides the least; None where there is no room.

        There is none where it would cover another caption, and when captions cover a third of the picture.

        Args:
            k: index of the box.
            caption: width and height of the caption.
        """
        box = self._boxes[k]
        beside, apart = _beside(box, *caption), _apart(box, *caption)
        spots = self._within_picture(np.concatenate([beside, apart]), caption)
        distances = np.concatenate([np.zeros(len(beside)), np.repeat(_DISTANCES, len(apart) // len(_DISTANCES))])
        near = _near(spots, self._boxes)
        hidden = (_overlaps(spots, self._boxes[near]) / self._areas[near]).sum(axis=1)
        costs = hidden + np.where(distances > 0, _LEADER_COST + _DISTANCE_COST * distances, 0)
        costs[: len(beside)] += _RANK_COST * np.arange(len(beside))
        # Half a pixel is left to rounding.
        costs[(_overlaps(spots, self._taken[_near(spots, self._taken)]) > 0.5).any(axis=1)] = np.inf
        best = int(costs.argmin())
        area = caption[0] * caption[1]
        if costs[best] == np.inf or (len(self._taken) and area > self._room):
            return None
        self._room -= area
        self._taken = np.concatenate([self._taken, spots[best : best + 1]])
        x1, y1, x2, y2 = spots[best].tolist()
        return CaptionPosition((x1, y1, x2, y2), _leader(spots[best], box))

    def _within_picture(self, corners: NDArray[np.float64], caption: tuple[float, float]) -> NDArray[np.float64]:
        """Return rectangles with these left top corners, moved into the picture."""
        room = np.maximum(np.subtract(self._size, caption), 0)
        corners = corners.clip(0, room)
        return np.concatenate([corners, corners + caption], axis=1)


def _beside(box: NDArray[np.float64], width: float, height: float) -> NDArray[np.float64]:
    """Return the left top corners of captions that touch a box, the most usual first."""
    x1, y1, x2, y2 = box.tolist()
    left, right, middle = x1, x2 - width, (x1 + x2 - width) / 2
    above, below = y1 - height, y2
    top, bottom = y1, y2 - height
    return np.array(
        [
            (left, above), (right, above), (left, top), (left, below), (left, bottom), (right, below),
            (right, top), (right, bottom), (middle, above), (middle, below),
            (x2, top), (x1 - width, top), (x2, bottom), (x1 - width, bottom),
        ]
    )  # fmt: skip


def _apart(box: NDArray[np.float64], width: float, height: float) -> NDArray[np.float64]:
    """Return the left top corners of captions around a box, at each distance in all eight directions."""
    x1, y1, x2, y2 = box.tolist()
    middle = (x1 + x2 - width) / 2, (y1 + y2 - height) / 2
    corners = []
    for distance in (share * height for share in _DISTANCES):
        xs = x1 - width - distance, middle[0], x2 + distance
        ys = y1 - height - distance, middle[1], y2 + distance
        corners += [(x, y) for i, x in enumerate(xs) for j, y in enumerate(ys) if (i, j) != (1, 1)]
    return np.array(corners)


def _leader(spot: NDArray[np.float64], box: NDArray[np.float64]) -> Rectangle | None:
    """Return the shortest line between a caption and its box; None if they touch."""
    start, end = [], []
    for low, high in ((0, 2), (1, 3)):
        if spot[high] < box[low]:
            ends = spot[high], box[low]
        elif spot[low] > box[high]:
            ends = spot[low], box[high]
        else:
            ends = ((max(spot[low], box[low]) + min(spot[high], box[high])) / 2,) * 2
        start.append(float(ends[0]))
        end.append(float(ends[1]))
    length = abs(start[0] - end[0]) + abs(start[1] - end[1])
    return (start[0], start[1], end[0], end[1]) if length > 1 else None


def _near(spots: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return (m,) whether rectangles (m, 4) share an area with the one around `spots` (n, 4)."""
    low, high = spots[:, :2].min(axis=0), spots[:, 2:].max(axis=0)
    near: NDArray[np.bool_] = ((others[:, :2] < high) & (others[:, 2:] > low)).all(axis=1)
    return near


def _overlaps(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (n, m) areas that rectangles a (n, 4) and b (m, 4) share."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    shared: NDArray[np.float64] = (high - low).clip(min=0).prod(axis=2)
    return shared
