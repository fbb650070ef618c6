"""The Swin Transformer: sizes that do not divide, what is frozen, stochastic depth, checkpointing."""

from __future__ import annotations

import re

import pytest
import torch
from torch import Tensor

from codetr.core.errors import UserError
from codetr.models.backbones.swin import Swin, border_masks
from codetr.models.layers.drop_path import DropPath
from codetr.models.necks.channel_mapper import ChannelMapper
from tests.support.models.tiny_detector import tiny_swin


def test_maps_have_the_stated_strides_and_channels() -> None:
    """Sizes are rounded up at every stage, whatever the image's."""
    config = tiny_swin(out_stages=(0, 1, 2, 3))
    maps = Swin(config)(torch.randn(2, 3, 65, 90))
    assert [tuple(x.shape) for x in maps] == [(2, 8, 17, 23), (2, 16, 9, 12), (2, 32, 5, 6), (2, 64, 3, 3)]
    assert config.pyramid_strides == (4, 8, 16, 32, 64)
    assert [tuple(x.shape) for x in ChannelMapper(config.out_channels, 16, groups=4)(maps)][-1] == (2, 16, 2, 2)


def test_unused_stages_are_not_built() -> None:
    model = Swin(tiny_swin(out_stages=(0, 2)))
    assert [tuple(x.shape[1:]) for x in model(torch.randn(1, 3, 32, 48))] == [(8, 8, 12), (32, 2, 3)]
    unused = [
        name for name, parameter in model.named_parameters() if name.startswith(("layers.3", "layers.2.down", "norm1"))
    ]
    assert not unused


@pytest.mark.parametrize("size", [(4, 4), (5, 40), (16, 12)])
def test_maps_smaller_than_a_window_train(size: tuple[int, int]) -> None:
    """One row or one column of windows is all border: nothing is left of what has no mask."""
    model = Swin(tiny_swin(window_size=7))
    sum(x.square().sum() for x in model(torch.randn(1, 3, *size))).backward()
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in model.parameters())


def window_mask_by_definition(window: int) -> Tensor:
    """Whether tokens of a window of the corner lie at the same borders of the map, by their coordinates."""
    wrapped = [
        (row >= window - window // 2, column >= window - window // 2)
        for row in range(window)
        for column in range(window)
    ]
    return torch.tensor([[query == key for key in wrapped] for query in wrapped])


@pytest.mark.parametrize("window", [4, 5])
def test_tokens_from_opposite_borders_do_not_see_each_other(window: int) -> None:
    last_column, last_row, corner = border_masks(window, torch.device("cpu")) == 0
    assert torch.equal(corner, window_mask_by_definition(window))
    assert torch.equal(corner, last_column & last_row)
    first, below = 0, (window - 1) * window
    assert last_column[first, below]
    assert not last_row[first, below]


@pytest.mark.parametrize("frozen", [-1, 0, 1, 2, 4])
def test_frozen_stages_get_no_gradient_and_drop_nothing(frozen: int) -> None:
    model = Swin(tiny_swin(frozen_stages=frozen, drop_path=0.5)).eval().train()
    parts = "|".join(("patch_embed", r"layers\.\d", r"norm\d"))
    trained = {
        name for key, weight in model.named_parameters() if weight.requires_grad for name in re.findall(parts, key)[:1]
    }
    stages = {f"layers.{stage}" for stage in range(max(frozen, 0), 4)}
    assert trained == {"norm1", "norm2", "norm3"} | stages | ({"patch_embed"} if frozen < 0 else set())
    for stage in range(4):
        modules = list(model.get_submodule(f"layers.{stage}").modules())
        assert {module.training for module in modules} == {f"layers.{stage}" in stages}


def test_stochastic_depth_keeps_the_expectation_and_drops_whole_images() -> None:
    torch.manual_seed(0)
    drop = DropPath(0.25)
    x = torch.ones(4000, 3, 2)
    dropped = drop(x)
    values = dropped.flatten(1)
    assert torch.equal(values, values[:, :1].expand_as(values))
    assert sorted(set(values[:, 0].tolist())) == pytest.approx([0, 4 / 3])
    assert dropped.mean().item() == pytest.approx(1, abs=0.05)
    assert torch.equal(drop.eval()(x), x)


def test_drop_path_grows_over_all_blocks() -> None:
    """Also over those of stages that are not built: else a backbone with fewer outputs would be another one."""
    for out_stages in ((1, 2, 3), (0, 1)):
        model = Swin(tiny_swin(drop_path=0.7, out_stages=out_stages))
        rates = [module.rate for module in model.modules() if isinstance(module, DropPath)]
        assert rates == pytest.approx([0.1 * block for block in range(len(rates))])
        assert len(rates) == 2 * (out_stages[-1] + 1)


def test_checkpointing_gives_equal_gradients() -> None:
    """Also where branches are dropped: what is computed again must draw the same."""
    torch.manual_seed(0)
    plain = Swin(tiny_swin(drop_path=0.5))
    checkpointed = Swin(tiny_swin(drop_path=0.5, checkpointing=True))
    checkpointed.load_state_dict(plain.state_dict())
    pixels, gradients = torch.randn(3, 3, 40, 52), []
    for model in (plain, checkpointed):
        torch.manual_seed(1)
        sum(x.square().sum() for x in model(pixels)).backward()
        gradients.append({name: parameter.grad for name, parameter in model.named_parameters()})
    torch.testing.assert_close(gradients[1], gradients[0])


def test_bf16_autocast_stays_close() -> None:
    """Biases and masks have the dtype of the queries; in another one attention would fail or lose precision."""
    torch.manual_seed(0)
    model, pixels = Swin(tiny_swin()).eval(), torch.randn(1, 3, 40, 52)
    with torch.no_grad():
        exact = model(pixels)
        with torch.autocast("cpu", torch.bfloat16):
            rounded = model(pixels)
    for found, expected in zip(rounded, exact, strict=True):
        torch.testing.assert_close(found.float(), expected, rtol=0, atol=0.1)


def test_heads_must_divide_the_channels() -> None:
    with pytest.raises(UserError, match="stage 1 has 16 channels, not a multiple of its 3 attention_heads"):
        tiny_swin(attention_heads=(1, 3, 2, 4))
