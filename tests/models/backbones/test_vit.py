"""The vision transformer: sizes, windows, the fixed canvas, and what saves memory or regularises in training."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from codetr.core.errors import UserError
from codetr.models.backbones.config import ViTConfig
from codetr.models.backbones.vit import ViT, ViTBlock, join_windows, split_windows
from codetr.models.config import DetectorKind
from codetr.models.detector import CoDETR
from codetr.models.layers.drop_path import DropPath
from tests.support.models.tiny_detector import KINDS, random_batch, tiny_config


def tiny_vit(**changes: Any) -> ViTConfig:
    values = {
        "channels": 16,
        "depth": 2,
        "attention_heads": 2,
        "feedforward_channels": 24,
        "window_size": 2,
        "global_blocks": (1,),
        "pretrained_grid": 3,
        "drop_path": 0.0,
        "checkpointing": False,
    }
    return ViTConfig(**(values | changes))


def build(seed: int = 0, **changes: Any) -> ViT:
    torch.manual_seed(seed)
    return ViT(tiny_vit(**changes)).eval()


@pytest.mark.parametrize(("height", "width"), [(16, 16), (48, 48), (48, 112), (50, 79)])
def test_images_of_any_size(height: int, width: int) -> None:
    """One token for every 16×16 pixels; none for an incomplete rest at the border."""
    (x,) = build()(torch.randn(2, 3, height, width))
    assert tuple(x.shape) == (2, 16, height // 16, width // 16)


def test_images_of_a_batch_are_independent() -> None:
    """Else the result would depend on how a batch is split over processes."""
    model, pixels = build(), torch.randn(2, 3, 48, 80)
    torch.testing.assert_close(model(pixels)[0][1:], model(pixels[1:])[0])


@pytest.mark.parametrize(("height", "width"), [(4, 6), (5, 7), (1, 3)])
def test_windows_are_put_back_where_they_came_from(height: int, width: int) -> None:
    x = torch.randn(2, height, width, 3)
    windows = split_windows(x, 2)
    assert tuple(windows.shape) == (2 * -(-height // 2) * -(-width // 2), 2, 2, 3)
    assert torch.equal(windows[0], torch.nn.functional.pad(x[0, :2, :2], (0, 0, 0, 0, 0, max(0, 2 - height))))
    assert torch.equal(join_windows(windows, len(x), height, width), x)


@pytest.mark.parametrize("everywhere", [False, True])
def test_only_global_blocks_look_beyond_their_window(everywhere: bool) -> None:
    model = build(global_blocks=(1,) if everywhere else ())
    pixels = torch.randn(1, 3, 80, 80)
    changed = pixels.clone()
    changed[:, :, 33, 50] += 1  # in the token at row 2, column 3, so in the window of rows and columns 2 and 3
    difference = (model(changed)[0] - model(pixels)[0]).abs().amax(dim=(0, 1)) > 0
    expected = torch.zeros(5, 5, dtype=torch.bool)
    expected[2:4, 2:4] = True
    assert torch.equal(difference, torch.ones_like(expected) if everywhere else expected)


def test_an_image_that_does_not_fit_the_canvas_is_a_user_error() -> None:
    """Tokens would be turned by the angles of other cells, or by none."""
    model = build(canvas=64)
    assert tuple(model(torch.randn(1, 3, 64, 64))[0].shape) == (1, 16, 4, 4)
    for height, width in ((64, 80), (32, 128), (70, 64)):
        with pytest.raises(UserError, match=rf"64 by 64 pixels.*height {height} and width {width}"):
            model(torch.randn(1, 3, height, width))


def test_a_canvas_changes_nothing_for_images_of_its_size() -> None:
    """The stored table and the one computed for the image are the same."""
    fixed, free = build(canvas=64), build()
    missing = free.load_state_dict(fixed.state_dict(), strict=False)
    assert all("rope" in key for key in missing.unexpected_keys)
    assert not missing.missing_keys
    pixels = torch.randn(1, 3, 64, 64)
    torch.testing.assert_close(free(pixels), fixed(pixels))


def gradients(model: ViT, pixels: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    torch.manual_seed(5)
    (x,) = model.train()(pixels)
    x.square().sum().backward()
    return x, {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}


def test_checkpointing_changes_no_gradient() -> None:
    """Nor which branches are left out when a block is computed again."""
    pixels = torch.randn(4, 3, 48, 64)
    plain, saving = (build(checkpointing=checkpointing, drop_path=0.5) for checkpointing in (False, True))
    (expected, expected_gradients), (found, found_gradients) = gradients(plain, pixels), gradients(saving, pixels)
    assert torch.equal(found, expected)
    assert found_gradients.keys() == expected_gradients.keys() == dict(plain.named_parameters()).keys()
    for name, gradient in expected_gradients.items():
        torch.testing.assert_close(found_gradients[name], gradient, msg=name)


def test_checkpointing_keeps_fewer_activations() -> None:
    pixels, kept = torch.randn(1, 3, 64, 64), []
    for checkpointing in (False, True):
        sizes: list[int] = []

        def pack(tensor: Tensor, sizes: list[int] = sizes) -> Tensor:
            sizes.append(tensor.numel())
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            build(depth=8, checkpointing=checkpointing)(pixels)
        kept.append(sum(sizes))
    assert kept[1] < kept[0] / 2


def test_blocks_are_left_out_more_often_towards_the_end() -> None:
    model = build(depth=5, global_blocks=(), drop_path=0.4)
    rates = [block.drop_path.rate for block in model.blocks if isinstance(block, ViTBlock)]
    assert rates == pytest.approx([0, 0.1, 0.2, 0.3, 0.4])


def test_drop_path_leaves_out_whole_samples_and_keeps_the_mean() -> None:
    torch.manual_seed(0)
    x = torch.ones(4000, 2, 3)
    dropped = DropPath(0.25).train()(x)
    assert dropped.unique().tolist() == pytest.approx([0, 1 / 0.75])
    assert torch.equal(dropped.amin(dim=(1, 2)), dropped.amax(dim=(1, 2)))
    assert dropped.mean().item() == pytest.approx(1, abs=0.05)
    assert torch.equal(DropPath(0.25).eval()(x), x)


def test_half_precision_is_close_to_full() -> None:
    """Rotary tables are float32; queries, keys and values must have one type all the same."""
    model, pixels = build(), torch.randn(1, 3, 48, 64)
    with torch.no_grad():
        expected = model(pixels)[0]
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found = model(pixels)[0]
    torch.testing.assert_close(found.float(), expected, rtol=0, atol=0.05)


@pytest.mark.parametrize("kind", KINDS)
def test_every_parameter_learns_in_either_kind_of_detector(kind: DetectorKind) -> None:
    torch.manual_seed(0)
    detector = CoDETR(tiny_config(kind, backbone=tiny_vit())).train()
    batch, targets = random_batch([2, 1])
    losses = detector(batch, targets)
    assert isinstance(losses, dict)
    torch.stack(list(losses.values())).sum().backward()
    for name, parameter in detector.named_parameters():
        if name.startswith(("backbone.", "neck.")):
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name
            assert parameter.grad.any(), name
