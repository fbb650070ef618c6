"""Parts of the Swin Transformer against the official implementation's numbers."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from codetr.models.backbones.swin import SwinStage, WindowAttention, relative_position_index
from codetr.weights.pretrained.swin import resize_position_table


def load(module: nn.Module, piece: dict[str, Tensor]) -> None:
    module.load_state_dict({name[7:]: value for name, value in piece.items() if name.startswith("param::")})


@pytest.mark.parametrize("piece", ["swin_window_attention"], indirect=True)
def test_attention_within_windows(piece: dict[str, Tensor]) -> None:
    windows, masks = piece["x"], piece["mask"]
    side = round(windows.shape[1] ** 0.5)
    assert torch.equal(relative_position_index(side), piece["relative_position_index"])
    attention = WindowAttention(
        windows.shape[2], heads=piece["param::relative_position_bias_table"].shape[1], window=side
    )
    load(attention, piece)
    with torch.no_grad():
        torch.testing.assert_close(attention(windows, attention.bias()), piece["out"], rtol=1e-4, atol=1e-5)
        # Every image has as many windows as there are masks.
        images = windows.unflatten(0, (-1, len(masks)))
        masked = [attention(images[:, index], attention.bias() + mask) for index, mask in enumerate(masks)]
        torch.testing.assert_close(torch.stack(masked, 1).flatten(0, 1), piece["out_masked"], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("piece", ["swin_basic_layer"], indirect=True)
def test_stage_pads_shifts_and_merges(piece: dict[str, Tensor]) -> None:
    offsets, heads = piece["param::blocks.0.attn.relative_position_bias_table"].shape
    blocks = {name.split(".")[1] for name in piece if name.startswith("param::blocks.")}
    channels, size = piece["x"].shape[2], (int(piece["H"]), int(piece["W"]))
    stage = SwinStage(channels, heads, (round(offsets**0.5) + 1) // 2, drop_path=[0.0] * len(blocks), merge=True)
    load(stage, piece)
    with torch.no_grad():
        out, merged = stage(piece["x"].unflatten(1, size))
    torch.testing.assert_close(out.flatten(1, 2), piece["out"], rtol=1e-4, atol=1e-5)
    assert merged.shape[1:3] == (int(piece["Wh"]), int(piece["Ww"]))
    torch.testing.assert_close(merged.flatten(1, 2), piece["down"], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("piece", ["swin_rel_pos_table_resize"], indirect=True)
def test_position_biases_of_another_window_size(piece: dict[str, Tensor]) -> None:
    expected = piece["resized_to_window5"]
    torch.testing.assert_close(resize_position_table(piece["pretrained"], len(expected)), expected)
