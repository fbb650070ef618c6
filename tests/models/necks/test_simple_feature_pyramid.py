"""The neck of plain transformers: sizes of the maps, and that each cell is normalised by itself."""

from __future__ import annotations

import pytest
import torch

from codetr.models.backbones.config import ViTConfig
from codetr.models.layers.conv import ChannelLayerNorm
from codetr.models.necks.build import build_neck
from codetr.models.necks.simple_feature_pyramid import SimpleFeaturePyramid


@pytest.mark.parametrize(
    ("size", "sizes"),
    [
        ((6, 8), [(24, 32), (12, 16), (6, 8), (3, 4), (2, 2)]),
        ((5, 7), [(20, 28), (10, 14), (5, 7), (3, 4), (2, 2)]),
        ((1, 2), [(4, 8), (2, 4), (1, 2), (1, 1), (1, 1)]),
    ],
)
def test_sizes(size: tuple[int, int], sizes: list[tuple[int, int]]) -> None:
    maps = SimpleFeaturePyramid(16, 8)([torch.randn(2, 16, *size)])
    assert [tuple(x.shape) for x in maps] == [(2, 8, *expected) for expected in sizes]


def test_it_is_the_neck_of_a_vision_transformer() -> None:
    """With as many maps as the configuration states strides; its width need not fit any group normalisation."""
    config = ViTConfig(channels=24, attention_heads=2)
    maps = build_neck(config, config.out_channels, channels=20, groups=32)([torch.randn(1, 24, 16, 16)])
    assert [256 // x.shape[-1] for x in maps] == list(config.pyramid_strides)
    assert {x.shape[1] for x in maps} == {20}


def test_every_cell_is_normalised_over_its_channels() -> None:
    x = 3 + 5 * torch.randn(2, 64, 3, 4)
    normalised = ChannelLayerNorm(64)(x)
    torch.testing.assert_close(normalised.mean(1), torch.zeros(2, 3, 4), rtol=0, atol=1e-5)
    torch.testing.assert_close(normalised.var(1, correction=0), torch.ones(2, 3, 4), rtol=0, atol=1e-4)
