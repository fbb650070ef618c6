"""Multi-scale deformable attention for CPUs, as sums over rows instead of interpolated images.

`grid_sample` reads a channel at a time, four scattered numbers each. Here a token's channels lie side by side and
`embedding_bag` sums whole rows: every (query, head) is a bag of levels * points * 4 corners, whose weights are
the bilinear ones times the attention weight. The gradient of the values is the same sum the other way round: the
samples, sorted by the cell they fall into, make one bag per cell. Nothing but the inputs is kept for it.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

Shapes = tuple[tuple[int, int], ...]


def deformable_attention_cpu(
    value: Tensor, spatial_shapes: Sequence[tuple[int, int]], sampling_locations: Tensor, attention_weights: Tensor
) -> Tensor:
    """See `codetr.ops.deformable_attention`: the same arguments, the same result."""
    return _DeformableAttentionFunction.apply(value, tuple(spatial_shapes), sampling_locations, attention_weights)


class _AxisSamples:
    """Samples along one axis: the two cells each lies between, and their shares.

    Attributes:
        before: (..., levels, points) int32, the cell before the sample, from -1 to the last one (a sample farther out
            counts as one at the border, and has no share in any cell).
        first, second: the cells before and after it, moved into the map.
        first_inside, second_inside: 1.0 where they were in the map, else 0.0.
        first_share, second_share: linear weights, 0 outside the map. Not a number if the sample's place is not.
    """

    def __init__(self, locations: Tensor, lengths: Sequence[int]) -> None:
        length = torch.tensor(lengths, dtype=locations.dtype)[:, None]
        places = locations * length - 0.5
        cells = places.floor()
        before = cells.clamp(min=-1).minimum(length - 1).nan_to_num(nan=0)
        first, second = before.clamp(min=0), (before + 1).minimum(length - 1)
        self.before, self.first, self.second = before.int(), first.int(), second.int()
        self.first_inside = (first == cells).to(locations.dtype)
        self.second_inside = (second == cells + 1).to(locations.dtype)
        share = places - cells
        self.first_share, self.second_share = (1 - share) * self.first_inside, share * self.second_inside


class _Samples:
    """Where samples lie. Bags are (image, query, head); rows of the values are (image, token, head).

    Attributes:
        x, y: columns and rows of the samples, (batch, queries, heads, levels, points).
    """

    def __init__(self, shapes: Shapes, locations: Tensor) -> None:
        self.shapes = shapes
        self.x = _AxisSamples(locations[..., 0], [width for _, width in shapes])
        self.y = _AxisSamples(locations[..., 1], [height for height, _ in shapes])

    def corners(self) -> list[Tensor]:
        """(bags, samples) int32 rows of the corners: upper left, upper right, lower left, lower right."""
        upper, lower = (self._rows(row, self.shapes) for row in (self.y.first, self.y.second))
        left, right = (column * column.shape[2] for column in (self.x.first, self.x.second))
        return [(row + column).flatten(0, 2).flatten(1) for row in (upper, lower) for column in (left, right)]

    def cells(self) -> Tensor:
        """(bags * samples,) int32, the same number for samples between the same four tokens."""
        sizes = [(height + 1, width + 1) for height, width in self.shapes]
        heads = self.x.before.shape[2]
        return (self._rows(self.y.before + 1, sizes) + (self.x.before + 1) * heads).flatten()

    def weights(self, attention: Tensor) -> list[Tensor]:
        """(bags, samples) weights of the corners, in the same order."""
        upper, lower = attention * self.y.first_share, attention * self.y.second_share
        columns = self.x.first_share, self.x.second_share
        return [(row * column).flatten(0, 2).flatten(1) for row in (upper, lower) for column in columns]

    def inside(self) -> list[Tensor]:
        """(bags, samples) bool, whether a corner of the sample's cell is in the map, in the same order."""
        rows = self.y.first == self.y.before, self.y.second == self.y.before + 1
        columns = self.x.first == self.x.before, self.x.second == self.x.before + 1
        return [(row & column).flatten(0, 2).flatten(1) for row in rows for column in columns]

    @staticmethod
    def _rows(rows: Tensor, sizes: Sequence[tuple[int, int]]) -> Tensor:
        """Index of the first cell of a map's row in maps of these (height, width), for every image and head."""
        batch, _, heads, _, _ = rows.shape
        starts = [0]
        for height, width in sizes:
            starts.append(starts[-1] + height * width)
        widths = torch.tensor([width for _, width in sizes], dtype=torch.int32)
        image = torch.arange(batch, dtype=torch.int32).view(-1, 1, 1, 1, 1) * (starts[-1] * heads)
        head = torch.arange(heads, dtype=torch.int32).view(-1, 1, 1)
        offset = torch.tensor(starts[:-1], dtype=torch.int32)[:, None] * heads + head
        return rows * (widths * heads)[:, None] + (offset + image)


class _DeformableAttentionFunction(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor, shapes: Shapes, locations: Tensor, attention: Tensor) -> Tensor:
        ctx.save_for_backward(value, locations, attention)
        ctx.shapes = shapes
        samples = _Samples(shapes, locations)
        corners, weights = torch.cat(samples.corners(), dim=1), torch.cat(samples.weights(attention), dim=1)
        output = F.embedding_bag(corners, value.flatten(0, 2), per_sample_weights=weights, mode="sum")
        return output.view(*locations.shape[:2], value.shape[2] * value.shape[3])

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, Tensor, Tensor]:
        value, locations, attention = ctx.saved_tensors
        samples = _Samples(ctx.shapes, locations)
        corners, weights = samples.corners(), samples.weights(attention)
        rows, gradient = value.flatten(0, 2), gradient.reshape(len(weights[0]), value.shape[3])

        products = _products(gradient, rows, torch.cat(corners, dim=1))
        upper_left, upper_right, lower_left, lower_right = (
            part.reshape(attention.shape) for part in products.chunk(4, dim=1)
        )
        x, y = samples.x, samples.y
        upper = upper_left * x.first_share + upper_right * x.second_share
        lower = lower_left * x.first_share + lower_right * x.second_share
        left = upper_left * y.first_share + lower_left * y.second_share
        right = upper_right * y.first_share + lower_right * y.second_share
        by_x = (right * x.second_inside - left * x.first_inside) * attention
        by_y = (lower * y.second_inside - upper * y.first_inside) * attention
        by_attention = upper * y.first_share + lower * y.second_share
        cells = torch.tensor([(width, height) for height, width in ctx.shapes], dtype=value.dtype)
        by_location = torch.stack((by_x, by_y), dim=-1) * cells[:, None]
        by_value = _value_gradient(samples, corners, weights, gradient, len(rows))
        return by_value.view(value.shape), None, by_location, by_attention


def _products(gradient: Tensor, rows: Tensor, corners: Tensor) -> Tensor:
    """The derivative by every corner's weight: the dot product of the bag's output gradient with the corner's row.

    That is a dense matrix product of which only some entries, those of a sparse matrix, are wanted.
    """
    bags, count = corners.shape
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
        wanted = torch.sparse_csr_tensor(
            torch.arange(bags + 1, dtype=torch.int32) * count,
            corners.reshape(-1),
            gradient.new_zeros(corners.numel()),
            (bags, len(rows)),
            check_invariants=False,
        )
        return torch.sparse.sampled_addmm(wanted, gradient, rows.t(), beta=0).values().view(bags, count)


def _value_gradient(
    samples: _Samples, corners: Sequence[Tensor], weights: Sequence[Tensor], gradient: Tensor, rows: int
) -> Tensor:
    """For every row the sum of the output gradients (bags, channels) of the bags that read it, by weight."""
    ordered, order = samples.cells().sort()
    _, counts = ordered.unique_consecutive(return_counts=True)
    starts = counts.cumsum(0) - counts
    count, cells = len(order), len(starts)
    # Samples are sorted once, not once per corner: those of one cell share all four of its corners. First a sum for
    # every cell and corner, and one over nothing.
    bags = order.div(corners[0].shape[1], rounding_mode="floor")
    sums = F.embedding_bag(
        bags.repeat(4),
        gradient,
        torch.cat([starts + corner * count for corner in range(4)] + [starts.new_tensor([4 * count])]),
        per_sample_weights=torch.cat([weight.reshape(-1)[order] for weight in weights]),
        mode="sum",
    )
    # Then every row collects the sums of the four cells around it. Corners outside the map belong to no row.
    collected = torch.full((rows + 1, 4), 4 * cells)
    first = order[starts]
    for corner, (row, inside) in enumerate(zip(corners, samples.inside(), strict=True)):
        own = torch.where(inside.reshape(-1)[first], row.reshape(-1)[first], rows)
        collected[own.long(), corner] = torch.arange(cells) + corner * cells
    return F.embedding_bag(collected[:rows], sums, mode="sum")
