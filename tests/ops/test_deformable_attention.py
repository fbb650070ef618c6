"""The CPU's path of deformable attention gives what the reference path gives, and its derivatives."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from codetr.ops.deformable_attention import multi_scale_deformable_attention, reference_deformable_attention
from codetr.ops.deformable_attention_cpu import deformable_attention_cpu

SHAPES = [(7, 9), (4, 5), (1, 2), (1, 1)]


def inputs(queries: int = 11, dtype: torch.dtype = torch.float64, spread: float = 2.4) -> list[Tensor]:
    """Random values, locations (a good share of them outside) and weights."""
    generator = torch.Generator().manual_seed(0)
    tokens = sum(height * width for height, width in SHAPES)
    value = torch.randn(2, tokens, 3, 4, generator=generator, dtype=dtype)
    locations = torch.rand(2, queries, 3, len(SHAPES), 5, 2, generator=generator, dtype=dtype)
    locations = (locations - 0.5) * spread + 0.5
    weights = torch.rand(2, queries, 3, len(SHAPES), 5, generator=generator, dtype=dtype)
    return [tensor.requires_grad_() for tensor in (value, locations, weights)]


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-4)])
@pytest.mark.parametrize("spread", [0.8, 2.4, 50.0], ids=["inside", "around", "far away"])
def test_output_and_gradients(dtype: torch.dtype, tolerance: float, spread: float) -> None:
    value, locations, weights = inputs(dtype=dtype, spread=spread)
    actual = deformable_attention_cpu(value, SHAPES, locations, weights)
    expected = reference_deformable_attention(value, SHAPES, locations, weights)
    torch.testing.assert_close(actual, expected, rtol=tolerance, atol=tolerance)
    gradient = torch.randn(actual.shape, generator=torch.Generator().manual_seed(1), dtype=dtype)
    # Of value, locations and weights, as the index in a message counts.
    gradients = torch.autograd.grad(actual, (value, locations, weights), gradient)
    expected_gradients = torch.autograd.grad(expected, (value, locations, weights), gradient)
    torch.testing.assert_close(gradients, expected_gradients, rtol=tolerance, atol=tolerance)


def test_samples_on_the_centres_of_cells_read_the_cells() -> None:
    height, width = 3, 4
    value = torch.arange(12.0).view(1, 12, 1, 1)
    rows, columns = torch.meshgrid(torch.arange(3.0), torch.arange(4.0), indexing="ij")
    locations = torch.stack(((columns + 0.5) / width, (rows + 0.5) / height), dim=-1).view(1, 12, 1, 1, 1, 2)
    output = multi_scale_deformable_attention(value, [(height, width)], locations, torch.ones(1, 12, 1, 1, 1))
    torch.testing.assert_close(output.flatten(), torch.arange(12.0), rtol=0, atol=1e-5)


def test_a_location_of_nan_gives_nan() -> None:
    """A diverged model must show in its losses, neither fail at an index nor be hidden."""
    value, locations, weights = (tensor.detach() for tensor in inputs())
    locations[0, 3, 1, 2, 0, 0] = float("nan")
    output = deformable_attention_cpu(value, SHAPES, locations, weights)
    assert output[0, 3, 4:8].isnan().all()
    assert output.isnan().sum() == 4


def test_backward_twice_gives_the_same_bits() -> None:
    """Exact resumption of training needs it."""
    gradients: list[Tensor] = []
    for _ in range(2):
        value, locations, weights = inputs(queries=300, dtype=torch.float32)
        output = deformable_attention_cpu(value, SHAPES, locations, weights)
        gradients += torch.autograd.grad(output.sum(), value)
    assert torch.equal(gradients[0], gradients[1])


def test_no_queries() -> None:
    value, locations, weights = inputs(queries=0)
    output = deformable_attention_cpu(value, SHAPES, locations, weights)
    assert output.shape == (2, 0, 12)
    (gradient,) = torch.autograd.grad(output.sum(), value)
    assert not gradient.any()
