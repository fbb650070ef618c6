"""Starting a Swin Transformer from the weights of a classifier."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from codetr.core.errors import UserError
from codetr.models.backbones.swin import Swin
from codetr.weights.keys import non_persistent_buffers
from codetr.weights.pretrained.load import load_backbone
from tests.support.models.tiny_detector import tiny_swin


def classifier(window_size: int = 4) -> dict[str, Tensor]:
    """The state dict of a classifier as its authors publish it: everything but the normalisations of output maps."""
    torch.manual_seed(7)
    model = Swin(tiny_swin(window_size=window_size))
    state = {
        key: value for key, value in model.state_dict().items() if not key.startswith("norm")
    } | non_persistent_buffers(model)
    extra = {
        "layers.0.blocks.1.attn_mask": torch.zeros(4, 16, 16),
        "norm.weight": torch.full((64,), 5.0),
        "norm.bias": torch.ones(64),
        "head.weight": torch.zeros(10, 64),
        "head.bias": torch.zeros(10),
    }
    return state | extra


@pytest.mark.parametrize("wrapped", [False, True])
def test_everything_but_the_classifier_is_loaded(tmp_path: Path, wrapped: bool) -> None:
    """Output maps have separate normalisations, which must not start from the classifier's."""
    path, state = tmp_path / "weights.pth", classifier()
    torch.save({"model": state} if wrapped else state, path)
    torch.manual_seed(0)
    backbone = Swin(tiny_swin())
    load_backbone(backbone, str(path))
    for key, value in backbone.state_dict().items():
        if key.startswith("norm"):
            assert set(value.tolist()) == {1.0 if key.endswith("weight") else 0.0}
        else:
            assert torch.equal(value, state[key]), key


def test_position_biases_are_resized_to_the_window(tmp_path: Path) -> None:
    """Biases of the same relative offset stay similar; the index is that of the backbone's window."""
    path, state = tmp_path / "weights.pth", classifier(window_size=4)
    key = "layers.2.blocks.1.attn.relative_position_bias_table"
    ramp = torch.linspace(-1, 1, 7)
    state[key] = torch.stack((ramp[:, None].expand(7, 7), ramp.expand(7, 7)), dim=-1).flatten(0, 1)
    torch.save(state, path)
    backbone = Swin(tiny_swin(window_size=6))
    load_backbone(backbone, str(path))
    vertical, horizontal = backbone.get_parameter(key).detach().unflatten(0, (11, 11)).unbind(-1)
    torch.testing.assert_close(vertical, horizontal.T)
    assert torch.allclose(vertical[:, :1].expand(11, 11), vertical, atol=1e-6)
    assert bool((vertical[1:, 0] > vertical[:-1, 0]).all())
    assert vertical[5, 0].item() == pytest.approx(0, abs=1e-6)
    assert backbone.get_buffer("layers.2.blocks.1.attn.relative_position_index").max() == 120


def test_stages_the_backbone_does_not_have_are_left_out(tmp_path: Path) -> None:
    path, state = tmp_path / "weights.pth", classifier()
    torch.save(state, path)
    backbone = Swin(tiny_swin(out_stages=(0, 1)))
    load_backbone(backbone, str(path))
    key = "layers.0.downsample.reduction.weight"
    assert torch.equal(backbone.state_dict()[key], state[key])


def test_weights_of_another_size_are_refused_with_every_key(tmp_path: Path) -> None:
    path, state = tmp_path / "weights.pth", classifier()
    del state["patch_embed.norm.bias"]
    state["layers.0.blocks.0.attn.relative_position_bias_table"] = torch.zeros(49, 3)
    state["layers.1.blocks.0.attn.relative_position_bias_table"] = torch.zeros(50, 2)
    state["absolute_pos_embed"] = torch.zeros(1, 16, 8)
    torch.save(state, path)
    with pytest.raises(UserError) as error:
        load_backbone(Swin(tiny_swin()), str(path))
    for part in (
        "4 keys do not fit",
        "missing: patch_embed.norm.bias",
        "unexpected: absolute_pos_embed",
        "shape of layers.0.blocks.0.attn.relative_position_bias_table: expected [49, 1], got [49, 3]",
        "shape of layers.1.blocks.0.attn.relative_position_bias_table: expected [49, 2], got [50, 2]",
    ):
        assert part in str(error.value)


def test_names_of_torchvision_mean_nothing_here() -> None:
    with pytest.raises(UserError, match="'IMAGENET1K_V1' is neither a file"):
        load_backbone(Swin(tiny_swin()), "IMAGENET1K_V1")
