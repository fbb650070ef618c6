"""Backbones of timm: whatever the model, maps are what the configuration states, and training reaches all of it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn.modules.batchnorm import _BatchNorm

from codetr.core.errors import UserError
from codetr.models.backbones.build import build_backbone
from codetr.models.backbones.config import TimmConfig
from codetr.models.detector import CoDETR, build_detector
from codetr.models.necks.build import build_neck
from codetr.training.config import EmaConfig, OptimizerConfig
from codetr.training.ema import Ema
from codetr.training.optimizer import build_optimizer
from tests.support.models.tiny_detector import random_batch, tiny_config

timm: Any = pytest.importorskip("timm")


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize(
    ("name", "strides"),
    [
        ("test_convnext", (4, 8, 16, 32)),  # drops pixels beyond a multiple of its strides
        ("test_efficientnet", (8, 16, 32)),  # has maps of stride 2 as well, and two stages of stride 16
        ("test_mambaout", (8, 32)),  # computes with channels last
        ("test_vit", (16,)),  # is made for one size of images
    ],
)
def test_maps_have_the_stated_strides_and_channels(name: str, strides: tuple[int, ...]) -> None:
    """Sizes are rounded up whatever the image's, as padding masks and anchors expect."""
    config = TimmConfig(name=name, out_strides=strides)
    backbone = build_backbone(config)
    maps = backbone(torch.randn(2, 3, 65, 90))
    sizes = [(-(-65 // stride), -(-90 // stride)) for stride in strides]
    expected = [(2, channels, *size) for channels, size in zip(backbone.out_channels, sizes, strict=True)]
    assert [tuple(x.shape) for x in maps] == expected
    levels = build_neck(config, backbone.out_channels, channels=16, groups=4)(backbone(torch.randn(1, 3, 64, 128)))
    assert [128 // level.shape[-1] for level in levels] == list(config.pyramid_strides)


def test_features_are_timms() -> None:
    """Another layer with the same stride would be no error anywhere else."""
    theirs = timm.create_model("test_efficientnet", features_only=True, out_indices=(2, 3, 4)).eval()
    ours = build_backbone(TimmConfig(name="test_efficientnet")).eval()
    theirs.load_state_dict({name.removeprefix("model."): value for name, value in ours.state_dict().items()})
    pixels = torch.randn(1, 3, 64, 96)
    for found, expected in zip(ours(pixels), theirs(pixels), strict=True):
        torch.testing.assert_close(found, expected)


def test_unused_layers_are_not_built() -> None:
    backbone = build_backbone(TimmConfig(name="test_convnext", out_strides=(4, 8)))
    whole = {f"model.{name}" for name in timm.create_model("test_convnext").state_dict()}
    assert {".".join(name.split(".")[1:3]) for name in whole - set(backbone.state_dict())} == {
        "head.fc",
        "head.norm",
        "stages.2",
        "stages.3",
    }


def test_parameters_that_reach_no_map_are_not_trained() -> None:
    """Distributed training would wait for their gradients for ever."""
    backbone = build_backbone(TimmConfig(name="hrnet_w18_small"))
    torch.stack([x.square().mean() for x in backbone(torch.randn(1, 3, 32, 32))]).sum().backward()
    assert [name for name, p in backbone.named_parameters() if p.requires_grad and p.grad is None] == []


def test_batch_statistics_are_kept() -> None:
    """A batch of detection has too few images to estimate them, and no process tells another."""
    backbone = build_backbone(TimmConfig(name="test_efficientnet")).eval().train()
    before = {name: buffer.clone() for name, buffer in backbone.named_buffers()}
    backbone(torch.randn(2, 3, 64, 64))
    assert before
    assert all(torch.equal(buffer, before[name]) for name, buffer in backbone.named_buffers())
    norms = [module for module in backbone.modules() if isinstance(module, _BatchNorm)]
    assert not any(parameter.requires_grad for norm in norms for parameter in norm.parameters())


def test_drop_path_and_checkpointing_reach_the_model() -> None:
    """Checkpointing changes no gradient, also where branches are dropped: it draws the same again."""
    pixels, gradients = torch.randn(3, 3, 64, 64), []
    for checkpointing in (False, True):
        torch.manual_seed(0)
        backbone = build_backbone(TimmConfig(name="test_convnext", drop_path=0.5, checkpointing=checkpointing))
        assert any(getattr(module, "grad_checkpointing", False) for module in backbone.modules()) == checkpointing
        torch.manual_seed(1)
        maps = backbone(pixels)
        torch.stack([x.square().mean() for x in maps]).sum().backward()
        gradients.append([parameter.grad for parameter in backbone.parameters()])
        assert not torch.equal(maps[-1], backbone.eval()(pixels)[-1]), "nothing was dropped"
    for plain, checkpointed in zip(*gradients, strict=True):
        torch.testing.assert_close(checkpointed, plain)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"name": "convnext_huge_typo"}, r"timm has no.*Similar names: .*convnext"),
        ({"name": "test_convnext", "out_strides": (8, 64)}, "strides 4, 8, 16, 32, not 8, 64"),
        ({"name": "test_vit", "out_strides": (8, 16)}, "strides 16, not 8, 16"),
        ({"name": "test_maxvit"}, "fails for an image of 160 by 96 pixels"),
        ({"name": "densenet121", "drop_path": 0.1}, "drop_path_rate"),
        (
            {"name": "dla34", "checkpointing": True},
            "backbone.checkpointing: .*does not support activation checkpointing",
        ),
    ],
)
def test_models_that_do_not_fit_are_refused_when_built(settings: dict[str, Any], message: str) -> None:
    """Not hours later, with the first image of another size."""
    with pytest.raises(UserError, match=message):
        build_backbone(TimmConfig(**settings))


@pytest.mark.parametrize(
    ("name", "strides"),
    [("convnext_atto", (8, 16, 32)), ("efficientnet_lite0", (4, 8, 16, 32)), ("test_vit", (16,))],
)
def test_a_detector_trains(name: str, strides: tuple[int, ...]) -> None:
    """Two steps: every trainable parameter has a gradient, the backbone its rate, the average is updated."""
    detector = timm_detector(name, strides)
    optimizer = build_optimizer(detector, OptimizerConfig(lr=1e-3, lr_multipliers={"backbone": 0.1}))
    ema = Ema(detector, EmaConfig(momentum=0.5, warmup_iterations=1))
    trainable = {name: p for name, p in detector.named_parameters() if p.requires_grad}
    start = {name: parameter.detach().clone() for name, parameter in trainable.items()}
    for step in range(2):
        optimizer.zero_grad()
        losses = detector(*random_batch((2, 3), canvas=(64, 90), seed=step))
        torch.stack(list(losses.values())).sum().backward()
        for key, parameter in trainable.items():
            assert parameter.grad is not None, key
            assert parameter.grad.isfinite().all(), key
        optimizer.step()
        ema.update(detector, step)
    rates = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    for key, parameter in trainable.items():
        assert rates[id(parameter)] == pytest.approx(1e-4 if key.startswith("backbone.") else 1e-3)
        assert not torch.equal(parameter, start[key]), key
        assert not torch.equal(ema.average[key], start[key]), key
    assert len(detector.eval()(random_batch((1,), canvas=(51, 77))[0])) == 1


def test_its_weights_are_drawn_from_torchs_generator_alone() -> None:
    """Ranks, and a run that is resumed, start from the same weights."""
    first, second = (timm_detector("test_vit", (16,)).state_dict() for _ in range(2))
    assert all(torch.equal(value, second[name]) for name, value in first.items())


def timm_detector(name: str, strides: tuple[int, ...]) -> CoDETR:
    torch.manual_seed(0)
    return build_detector(tiny_config("co_dino", backbone=TimmConfig(name=name, out_strides=strides))).train()
