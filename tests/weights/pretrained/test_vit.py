"""Starting a vision transformer from EVA-02 checkpoints.

They are imitated: no published one is small enough for a test. Names are those of the published files.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from codetr.core.errors import UserError
from codetr.models.backbones.config import ViTConfig
from codetr.models.backbones.vit import ViT
from codetr.weights.pretrained.load import load_backbone

CONFIG = ViTConfig(
    channels=16,
    depth=2,
    attention_heads=2,
    feedforward_channels=24,
    window_size=2,
    global_blocks=(1,),
    pretrained_grid=5,
    canvas=64,
)


def checkpoint(patch: int = 14, grid: int = 4) -> dict[str, Tensor]:
    """A classifier with patches of `patch` pixels, pretrained on `grid` by `grid` of them."""
    torch.manual_seed(0)
    tensors = {key: torch.randn_like(value) for key, value in ViT(CONFIG).state_dict().items() if "rope" not in key}
    del tensors["out_norm.weight"], tensors["out_norm.bias"]
    tensors["patch_embed.proj.weight"] = torch.randn(16, 3, patch, patch)
    tensors["pos_embed"] = torch.randn(1, 1 + grid**2, 16)
    for key in ("rope.freqs_cos", "blocks.0.attn.rope.freqs_cos", "blocks.1.attn.rope.freqs_sin"):
        tensors[key] = torch.randn(grid**2, 8)
    for key in ("cls_token", "mask_token", "norm.weight", "fc_norm.bias", "head.weight", "lm_head.bias"):
        tensors[key] = torch.randn(1, 1, 16)
    return tensors


def loaded(tmp_path: Path, content: object) -> ViT:
    path = tmp_path / "eva02.pt"
    torch.save(content, path)
    torch.manual_seed(1)
    backbone = ViT(CONFIG)
    load_backbone(backbone, str(path))
    return backbone


@pytest.mark.parametrize("wrapper", [None, "model", "module", "state_dict"])
def test_blocks_are_taken_over(tmp_path: Path, wrapper: str | None) -> None:
    given = checkpoint()
    content = given if wrapper is None else {wrapper: given, "epoch": 3, "optimizer": {"state": {}}}
    state = loaded(tmp_path, content).state_dict()
    blocks = [key for key in state if key.startswith("blocks.") and "rope" not in key]
    assert len(blocks) == 2 * 19
    assert all(torch.equal(state[key], given[key]) for key in [*blocks, "patch_embed.proj.bias"])


def test_patches_and_positions_are_resized(tmp_path: Path) -> None:
    """Bicubically and without antialiasing, as the weights of the published detectors were. The class token's position
    stays in front, so that the file has the published form.
    """
    given = checkpoint()
    state = loaded(tmp_path, {"model": given}).state_dict()
    torch.testing.assert_close(
        state["patch_embed.proj.weight"], F.interpolate(given["patch_embed.proj.weight"], (16, 16), mode="bicubic")
    )
    positions = state["pos_embed"]
    assert torch.equal(positions[:, :1], given["pos_embed"][:, :1])
    grid = given["pos_embed"][:, 1:].mT.unflatten(2, (4, 4))
    torch.testing.assert_close(positions[:, 1:].mT.unflatten(2, (5, 5)), F.interpolate(grid, (5, 5), mode="bicubic"))


def test_weights_of_the_right_size_are_not_touched(tmp_path: Path) -> None:
    given = checkpoint(patch=16, grid=5)
    state = loaded(tmp_path, given).state_dict()
    assert all(torch.equal(state[key], given[key]) for key in ("patch_embed.proj.weight", "pos_embed"))


def test_tables_and_the_last_normalisation_stay(tmp_path: Path) -> None:
    """The checkpoint's tables are for another grid, and its last normalisation served the class token."""
    state, fresh = loaded(tmp_path, checkpoint()).state_dict(), ViT(CONFIG).state_dict()
    kept = [key for key in fresh if "rope" in key or key.startswith("out_norm")]
    assert len(kept) == 4 + 4 + 2
    assert all(torch.equal(state[key], fresh[key]) for key in kept)


def test_half_precision_is_read(tmp_path: Path) -> None:
    given = {key: value.half() for key, value in checkpoint().items()}
    assert {value.dtype for value in loaded(tmp_path, given).state_dict().values()} == {torch.float32}


def test_weights_of_another_network_are_refused_with_every_key(tmp_path: Path) -> None:
    given = checkpoint()
    del given["blocks.1.mlp.w3.weight"]
    given["blocks.0.attn.inner_attn_ln.weight"] = torch.zeros(16)  # EVA-02-CLIP has it
    given["blocks.0.norm1.weight"] = torch.zeros(8)
    given["pos_embed"] = torch.zeros(1, 16, 16)  # no square and a class token
    path = tmp_path / "eva02.pt"
    torch.save(given, path)
    backbone = ViT(CONFIG)
    before = {key: value.clone() for key, value in backbone.state_dict().items()}
    with pytest.raises(UserError) as error:
        load_backbone(backbone, str(path))
    for part in (
        "4 keys do not fit",
        "missing: blocks.1.mlp.w3.weight",
        "unexpected: blocks.0.attn.inner_attn_ln.weight",
        "shape of blocks.0.norm1.weight: expected [16], got [8]",
        "shape of pos_embed: expected [1, 26, 16], got [1, 16, 16]",
    ):
        assert part in str(error.value)
    assert all(torch.equal(value, before[key]) for key, value in backbone.state_dict().items())


def test_names_of_torchvision_mean_nothing_here() -> None:
    with pytest.raises(UserError, match="'IMAGENET1K_V1' is neither a file"):
        load_backbone(ViT(CONFIG), "IMAGENET1K_V1")
