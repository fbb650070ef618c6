"""Deformable attention: our path against one `grid_sample` per level, which is what the official implementation does.

    python benchmarks/deformable_attention.py [--device cuda] [--threads 2] [--repeats 5]

Both run in turn in one process on the same input, forward and backward; the best time of each counts, so that
other work on the machine disturbs the ratio little. Sizes are those of an image of 800×1333 with ResNet-50.

Measured with torch 2.14.1 on a shared, busy x86 server, as times faster for both passes together:

    encoder, Co-Deformable (4 levels)          1.6 on one thread, 1.8 on two
    decoder, Co-Deformable (300 queries)       1.7                1.8
    encoder, Co-DINO at half size (5 levels)   1.6                1.6
    decoder, Co-DINO (900 queries, 5 levels)   1.9                1.9

With two threads set OMP_WAIT_POLICY=PASSIVE where other work competes for the cores: threads that spin while they
wait lose whatever is measured, in both paths.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from codetr.ops.deformable_attention import multi_scale_deformable_attention, reference_deformable_attention

LEVELS = [(200, 334), (100, 167), (50, 84), (25, 42), (13, 21), (7, 11)]
HEADS, CHANNELS, POINTS = 8, 32, 4


@dataclass
class Scenario:
    """One use of the attention; `queries` is None where every token is a query."""

    name: str
    shapes: list[tuple[int, int]]
    queries: int | None


SCENARIOS = [
    Scenario("encoder, Co-Deformable (4 levels)", LEVELS[1:5], None),
    Scenario("decoder, Co-Deformable (300 queries)", LEVELS[1:5], 300),
    Scenario("encoder, Co-DINO at half size (5 levels)", LEVELS[1:6], None),
    Scenario("decoder, Co-DINO (900 queries, 5 levels)", LEVELS[:5], 900),
]


def inputs(scenario: Scenario, device: torch.device) -> tuple[Tensor, list[tuple[int, int]], Tensor, Tensor]:
    """Return values, shapes, locations a few cells around each query's reference point, and weights."""
    generator = torch.Generator(device).manual_seed(0)
    shapes = scenario.shapes
    tokens = sum(height * width for height, width in shapes)
    if scenario.queries is None:
        grids = [
            torch.cartesian_prod((torch.arange(h) + 0.5) / h, (torch.arange(w) + 0.5) / w).flip(-1) for h, w in shapes
        ]
        points = torch.cat(grids).to(device)
    else:
        points = torch.rand(scenario.queries, 2, generator=generator, device=device)
    count, levels = len(points), len(shapes)
    value = torch.randn(1, tokens, HEADS, CHANNELS, generator=generator, device=device)
    offsets = 3 * torch.randn(1, count, HEADS, levels, POINTS, 2, generator=generator, device=device)
    cells = torch.tensor([(w, h) for h, w in shapes], device=device)
    locations = points[None, :, None, None, None] + offsets / cells[:, None]
    weights = torch.rand(1, count, HEADS, levels * POINTS, generator=generator, device=device).softmax(-1)
    return value, shapes, locations, weights.unflatten(-1, (levels, POINTS))


def measure(
    path: Callable[..., Tensor], value: Tensor, shapes: list[tuple[int, int]], locations: Tensor, weights: Tensor
) -> tuple[float, float]:
    """Return the seconds of one forward and one backward pass."""
    leaves = [tensor.clone().requires_grad_() for tensor in (value, locations, weights)]
    synchronise = torch.cuda.synchronize if value.is_cuda else lambda: None
    synchronise()
    start = time.perf_counter()
    output = path(leaves[0], shapes, leaves[1], leaves[2])
    synchronise()
    middle = time.perf_counter()
    output.sum().backward()
    synchronise()
    return middle - start, time.perf_counter() - middle


def main() -> None:
    """Measure every scenario and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    device = torch.device(arguments.device)
    print(f"torch {torch.__version__}, {device}, {arguments.threads} threads, best of {arguments.repeats}")
    print(f"{'ms':42}{'grid_sample':>22}{'ours':>22}{'times faster':>14}")
    print(f"{'':42}{'forward  backward':>22}{'forward  backward':>22}{'both':>14}")
    for scenario in SCENARIOS:
        case = inputs(scenario, device)
        runs = [
            (measure(reference_deformable_attention, *case), measure(multi_scale_deformable_attention, *case))
            for _ in range(arguments.repeats + 1)
        ][1:]
        best = [[min(run[path][part] for run in runs) * 1e3 for part in (0, 1)] for path in (0, 1)]
        shown = "".join(f"{forward:>12.1f}{backward:>10.1f}" for forward, backward in best)
        print(f"{scenario.name:42}{shown}{sum(best[0]) / sum(best[1]):>14.2f}", flush=True)


if __name__ == "__main__":
    main()
