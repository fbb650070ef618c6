"""Weights a backbone starts from: a file of pretrained weights, or torchvision's for a ResNet, downloaded."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from torchvision.models import get_model_weights

from codetr.errors import UserError
from codetr.models.backbones.build import Backbone
from codetr.models.backbones.resnet import ResNet
from codetr.models.backbones.vit import ViT
from codetr.weights.backbone_vit import vit_weights
from codetr.weights.keys import KeyReport

_TORCHVISION_DEPTHS = (50, 101, 152)

_WRAPPERS = ("model", "module", "state_dict")
"""Keys under which published checkpoints hold their weights."""


def load_backbone(backbone: Backbone, source: str) -> None:
    """Load weights into a backbone, in place.

    The classifier of the weights and stages that the backbone does not have are left out; everything else must fit.

    Args:
        backbone: where they go.
        source: path of a .safetensors file or of a .pth file with a state dict, by itself or under "model", "module"
            or "state_dict"; for a ResNet also the name of torchvision weights such as "IMAGENET1K_V1", which are
            downloaded into torch's cache and checked against their hash.

    Raises:
        UserError: there is no such file or name, the file cannot be read or holds something else, the download
            fails, or keys or shapes do not fit; nothing has been changed then.
    """
    path = Path(source)
    if isinstance(backbone, ViT):
        given = vit_weights(backbone, _read(path))
    else:
        is_file = path.suffix in (".safetensors", ".pth", ".pt") or path.exists()
        given = _resnet_weights(backbone, _read(path) if is_file else _fetch(source, backbone))
    KeyReport.compare(backbone.state_dict(), given).require_match(source)
    backbone.load_state_dict(given)


def _resnet_weights(backbone: ResNet, given: Mapping[str, Tensor]) -> dict[str, Tensor]:
    expected = backbone.state_dict()
    stages = {f"layer{stage}" for stage in range(backbone.out_stages[-1] + 2, 5)}
    given = {key: value for key, value in given.items() if key.partition(".")[0] not in {"fc", *stages}}
    # Weights saved before PyTorch counted batches lack these counters, which frozen statistics do not need.
    counters = {key: value for key, value in expected.items() if key.endswith(".num_batches_tracked")}
    return counters | given


def _read(path: Path) -> dict[str, Tensor]:
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UserError("there is no such file", where=str(path), hint="Check backbone_weights.") from None
    except (OSError, SafetensorError, pickle.UnpicklingError, EOFError, RuntimeError, ValueError, KeyError) as error:
        raise UserError(
            f"cannot be read as weights: {str(error).splitlines()[0] if str(error) else type(error).__name__}",
            where=str(path),
            hint="Give a .safetensors file, or a .pth file that holds nothing but tensors by name.",
        ) from None
    while isinstance(content, Mapping) and (key := next((key for key in _WRAPPERS if key in content), None)):
        content = content[key]
    if not isinstance(content, Mapping) or not all(isinstance(value, Tensor) for value in content.values()):
        raise UserError(
            "holds something else than tensors by name",
            where=str(path),
            hint="Save the backbone's state dict alone.",
        )
    return dict(content)


def _fetch(name: str, backbone: ResNet) -> dict[str, Tensor]:
    if backbone.depth not in _TORCHVISION_DEPTHS:
        raise UserError(
            f"'{name}' is not a file, and torchvision has no weights for a ResNet of depth {backbone.depth}",
            where="backbone_weights",
            hint=f"Torchvision has them for depths {', '.join(map(str, _TORCHVISION_DEPTHS))}; or give a file.",
        )
    known = get_model_weights(f"resnet{backbone.depth}")
    if name not in known.__members__:
        raise UserError(
            f"'{name}' is neither a file nor the name of torchvision weights",
            where="backbone_weights",
            hint=f"Names for depth {backbone.depth} are: {', '.join(known.__members__)}.",
        )
    try:
        return dict(known[name].get_state_dict(progress=False, check_hash=True))
    except (OSError, RuntimeError) as error:
        raise UserError(
            f"downloading torchvision's '{name}' failed: {error}",
            where="backbone_weights",
            hint="Download the file elsewhere and give its path instead.",
        ) from None
