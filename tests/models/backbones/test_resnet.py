"""The backbone: what is put out, what is frozen, and that it can be trained from nothing."""

from __future__ import annotations

import pytest
import torch

from codetr.models.backbones.config import ResNetConfig
from codetr.models.backbones.resnet import ResNet
from codetr.models.necks.channel_mapper import ChannelMapper


def test_maps_have_the_stated_strides_and_channels() -> None:
    config = ResNetConfig(base_width=8, out_stages=(1, 2, 3))
    maps = ResNet(config)(torch.zeros(2, 3, 65, 96))
    assert [tuple(x.shape) for x in maps] == [(2, 64, 9, 12), (2, 128, 5, 6), (2, 256, 3, 3)]
    neck = ChannelMapper(config.out_channels, 16, groups=4)
    assert [tuple(x.shape) for x in neck(maps)] == [(2, 16, 9, 12), (2, 16, 5, 6), (2, 16, 3, 3), (2, 16, 2, 2)]


@pytest.mark.parametrize("frozen", [-1, 0, 1, 4])
def test_frozen_stages_get_no_gradient_and_the_others_do(frozen: int) -> None:
    model = ResNet(ResNetConfig(depth=26, base_width=8, out_stages=(1, 2, 3), frozen_stages=frozen, norm="group"))
    trained = {name.partition(".")[0] for name, parameter in model.named_parameters() if parameter.requires_grad}
    stages = [f"layer{stage}" for stage in range(1, 5)]
    assert trained == set(stages[max(frozen, 0) :]) | ({"conv1", "bn1"} if frozen < 0 else set())


def test_training_leaves_frozen_statistics_alone() -> None:
    """Batches of one or two images would ruin the statistics of ImageNet."""
    model = ResNet(ResNetConfig(depth=26, base_width=8)).train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    model(torch.randn(2, 3, 64, 64))
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert not any(parameter.requires_grad for name, parameter in model.named_parameters() if ".bn" in name)


def test_group_norm_makes_images_of_a_batch_independent() -> None:
    """Else the result would depend on how a batch is split over processes."""
    model = ResNet(ResNetConfig(depth=26, base_width=8, norm="group")).train()
    pixels = torch.randn(2, 3, 64, 64)
    for together, alone in zip(model(pixels), model(pixels[1:]), strict=True):
        torch.testing.assert_close(together[1:], alone)
