"""Multi-scale deformable attention for CPUs, as sums over rows instead of interpolated images.

`grid_sample` reads one channel at a time, four scattered numbers each. Here the channels of a token are contiguous and
`embedding_bag` sums whole rows: every (query, head) is a bag of levels * points * 4 corners, weighted by the bilinear
weight times the attention weight. The gradient of the values is a sum of the same kind: samples, sorted by the cell
they fall into, form one bag per cell. The backward pass needs only the inputs.
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
    """Compute `codetr.ops.deformable_attention.multi_scale_deformable_attention`, whose arguments it has."""
    output: Tensor = _DeformableAttentionFunction.apply(
        value, tuple(spatial_shapes), sampling_locations, attention_weights
    )
    return output


class _AxisSamples:
    """Samples along one axis: the two cells that each lies between, and their linear weights.

    Attributes:
        before: (..., levels, points) int32, the cell before the sample, from -1 to the last one; samples farther out
            are moved to the border and have zero weights.
        first, second: the cells before and after the sample, clamped to the map.
        first_inside, second_inside: 1.0 where they lie in the map, else 0.0.
        first_weight, second_weight: linear weights, 0 outside the map; NaN if the location is.
    """

    def __init__(self, locations: Tensor, lengths: Sequence[int]) -> None:
        length = torch.tensor(lengths, dtype=locations.dtype)[:, None]
        positions = locations * length - 0.5
        cells = positions.floor()
        before = cells.clamp(min=-1).minimum(length - 1).nan_to_num(nan=0)
        first, second = before.clamp(min=0), (before + 1).minimum(length - 1)
        self.before, self.first, self.second = before.int(), first.int(), second.int()
        self.first_inside = (first == cells).to(locations.dtype)
        self.second_inside = (second == cells + 1).to(locations.dtype)
        fraction = positions - cells
        self.first_weight, self.second_weight = (1 - fraction) * self.first_inside, fraction * self.second_inside


class _Samples:
    """Positions of the samples. Bags are (image, query, head); rows of the values are (image, token, head).

    Attributes:
        x, y: columns and rows of the samples, (batch, queries, heads, levels, points).
    """

    def __init__(self, shapes: Shapes, locations: Tensor) -> None:
        self.shapes = shapes
        self.x = _AxisSamples(locations[..., 0], [width for _, width in shapes])
        self.y = _AxisSamples(locations[..., 1], [height for height, _ in shapes])

    def corners(self) -> list[Tensor]:
        """Return the rows (bags, samples) int32 of the corners: upper left, upper right, lower left, lower right."""
        upper, lower = (self._rows(row, self.shapes) for row in (self.y.first, self.y.second))
        left, right = (column * column.shape[2] for column in (self.x.first, self.x.second))
        return [(row + column).flatten(0, 2).flatten(1) for row in (upper, lower) for column in (left, right)]

    def cells(self) -> Tensor:
        """Return a cell number (bags * samples,) int32, equal for samples between the same four tokens."""
        sizes = [(height + 1, width + 1) for height, width in self.shapes]
        heads = self.x.before.shape[2]
        return (self._rows(self.y.before + 1, sizes) + (self.x.before + 1) * heads).flatten()

    def weights(self, attention: Tensor) -> list[Tensor]:
        """Return the weights (bags, samples) of the corners, in the order of `corners`."""
        upper, lower = attention * self.y.first_weight, attention * self.y.second_weight
        columns = self.x.first_weight, self.x.second_weight
        return [(row * column).flatten(0, 2).flatten(1) for row in (upper, lower) for column in columns]

    def inside(self) -> list[Tensor]:
        """Return whether the corners are in the map, (bags, samples) bool, in the order of `corners`."""
        rows = self.y.first == self.y.before, self.y.second == self.y.before + 1
        columns = self.x.first == self.x.before, self.x.second == self.x.before + 1
        return [(row & column).flatten(0, 2).flatten(1) for row in rows for column in columns]

    @staticmethod
    def _rows(rows: Tensor, sizes: Sequence[tuple[int, int]]) -> Tensor:
        """Return the index of the first cell of a map's row in maps of these (height, width), per image and head."""
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
        upper = upper_left * x.first_weight + upper_right * x.second_weight
        lower = lower_left * x.first_weight + lower_right * x.second_weight
        left = upper_left * y.first_weight + lower_left * y.second_weight
        right = upper_right * y.first_weight + lower_right * y.second_weight
        by_x = (right * x.second_inside - left * x.first_inside) * attention
        by_y = (lower * y.second_inside - upper * y.first_inside) * attention
        by_attention = upper * y.first_weight + lower * y.second_weight
        cells = torch.tensor([(width, height) for height, width in ctx.shapes], dtype=value.dtype)
        by_location = torch.stack((by_x, by_y), dim=-1) * cells[:, None]
        by_value = _value_gradient(samples, corners, weights, gradient, len(rows))
        return by_value.view(value.shape), None, by_location, by_attention


def _products(gradient: Tensor, rows: Tensor, corners: Tensor) -> Tensor:
    """Return the derivatives (bags, corners) by the corners' weights.

    A derivative is the dot product of the bag's output gradient with the corner's row: a few entries of a dense matrix
    product, given by a sparse matrix.
    """
    bags, count = corners.shape
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
        pattern = torch.sparse_csr_tensor(
            torch.arange(bags + 1, dtype=torch.int32) * count,
            corners.reshape(-1),
            gradient.new_zeros(corners.numel()),
            (bags, len(rows)),
            check_invariants=False,
        )
        products: Tensor = torch.sparse.sampled_addmm(pattern, gradient, rows.t(), beta=0).values().view(bags, count)
    return products


def _value_gradient(
    samples: _Samples, corners: Sequence[Tensor], weights: Sequence[Tensor], gradient: Tensor, rows: int
) -> Tensor:
    """Return for every row the weighted sum of the output gradients (bags, channels) of the bags that read it."""
    ordered, order = samples.cells().sort()
    _, counts = ordered.unique_consecutive(return_counts=True)
    starts = counts.cumsum(0) - counts
    count, cells = len(order), len(starts)
    # Samples are sorted once, not once per corner: samples of one cell share its four corners. First one sum for every
    # cell and corner, and an empty one.
    bags = order.div(corners[0].shape[1], rounding_mode="floor")
    sums = F.embedding_bag(
        bags.repeat(4),
        gradient,
        torch.cat([starts + corner * count for corner in range(4)] + [starts.new_tensor([4 * count])]),
        per_sample_weights=torch.cat([weight.reshape(-1)[order] for weight in weights]),
        mode="sum",
    )
    # Then every row collects the sums of the four cells around it. Corners outside the map go to an extra row.
    collected = torch.full((rows + 1, 4), 4 * cells)
    first = order[starts]
    for corner, (row, inside) in enumerate(zip(corners, samples.inside(), strict=True)):
        target_row = torch.where(inside.reshape(-1)[first], row.reshape(-1)[first], rows)
        collected[target_row.long(), corner] = torch.arange(cells) + corner * cells
    return F.embedding_bag(collected[:rows], sums, mode="sum")
