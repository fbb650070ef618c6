"""The vision transformer and its neck against the official implementation, piece by piece."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from codetr.models.backbones.config import ViTConfig
from codetr.models.backbones.rope import RotaryTable, rotary_angles, rotate
from codetr.models.backbones.vit import ViT, resize_positions
from codetr.models.necks.simple_feature_pyramid import SimpleFeaturePyramid
from tests.reference.golden_case import close


@pytest.mark.parametrize("piece", ["vit_rope"], indirect=True)
def test_rotary_table(piece: dict[str, Tensor]) -> None:
    """Of a window of 24×24 tokens; every fifth row of the table and every ninth token are stored."""
    table = RotaryTable(24, 64)
    close(table.freqs_cos[::5], piece["freqs_cos"])
    close(table.freqs_sin[::5], piece["freqs_sin"])
    stride = int(piece["note_stride"])
    close(rotate(piece["q"], table.freqs_cos[::stride], table.freqs_sin[::stride]), piece["rotated"])


@pytest.mark.parametrize("piece", ["vit_get_rope_nonsquare"], indirect=True)
def test_rotation_on_any_grid(piece: dict[str, Tensor]) -> None:
    """On a square, swapped rows and columns would go unnoticed."""
    angles = rotary_angles(int(piece["H"]), int(piece["W"]), 64)
    close(rotate(piece["q"], angles.cos(), angles.sin()), piece["out"])


@pytest.mark.parametrize("piece", ["vit_abs_pos"], indirect=True)
def test_learnt_positions(piece: dict[str, Tensor]) -> None:
    close(resize_positions(piece["pos_embed"], int(piece["H"]), int(piece["W"])), piece["out"])
    assert torch.equal(resize_positions(piece["pos_embed"], 4, 4), piece["out_same"])


@pytest.mark.parametrize("piece", ["vit_blocks"], indirect=True)
def test_blocks(piece: dict[str, Tensor]) -> None:
    """A map of 6×9 tokens does not fill windows of 4×4: their padding takes part in attention."""
    config = ViTConfig(
        channels=64, depth=2, attention_heads=1, feedforward_channels=170, window_size=4, global_blocks=(1,)
    )
    windowed, everywhere = ViT(config).eval().blocks
    for block, prefix, output in ((windowed, "win::", "out_window4"), (everywhere, "glb::", "out_global")):
        weights = {key.removeprefix(prefix): value for key, value in piece.items() if key.startswith(prefix)}
        tables = {key: value for key, value in block.state_dict().items() if key.startswith("attn.rope.")}
        block.load_state_dict(weights | tables)
        with torch.no_grad():
            close(block(piece["x"]), piece[output])


@pytest.mark.parametrize("piece", ["sfp_neck"], indirect=True)
def test_feature_pyramid(piece: dict[str, Tensor]) -> None:
    neck = SimpleFeaturePyramid(16, 8)
    neck.load_state_dict(
        {key.removeprefix("param::"): value for key, value in piece.items() if key.startswith("param::")}
    )
    with torch.no_grad():
        for index, actual in enumerate(neck([piece["x"]])):
            close(actual, piece[f"out{index}"])
