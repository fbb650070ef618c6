"""Weights a backbone starts from: a file of pretrained weights, or published ones, downloaded by their name."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from codetr.core.errors import UserError
from codetr.models.backbones.build import Backbone
from codetr.models.backbones.resnet import ResNet
from codetr.models.backbones.swin import Swin
from codetr.models.backbones.timm_backbone import TimmBackbone
from codetr.weights.keys import KeyReport
from codetr.weights.pretrained.download import fetch_published
from codetr.weights.pretrained.resnet import fetch_torchvision, resnet_weights
from codetr.weights.pretrained.swin import swin_weights
from codetr.weights.pretrained.timm import fetch_timm, timm_weights
from codetr.weights.pretrained.vit import vit_weights

_WRAPPERS = ("model", "module", "state_dict")
"""Keys under which published checkpoints hold their weights."""


def load_backbone(backbone: Backbone, source: str) -> None:
    """Load weights into a backbone, in place.

    The classifier of the weights and stages that the backbone does not have are left out; everything else must fit.

    Args:
        backbone: where they go.
        source: path of a .safetensors file or of a .pth file with a state dict, by itself or under "model", "module"
            "IMAGENET1K_V1", for a model of timm a tag such as "d2_in1k", else one of `pretrained.download`.
            "IMAGENET1K_V1", for a model of timm a tag such as "d2_in1k", else one of `pretrained.download`.

    Raises:
        UserError: there is no such file or name, the file cannot be read or holds something else, the download
            fails, or keys or shapes do not fit; nothing has been changed then.
    """
    path = Path(source)
    is_file = path.suffix in (".safetensors", ".pth", ".pt") or path.exists()
    if isinstance(backbone, ResNet):
        given = resnet_weights(backbone, _read(path) if is_file else fetch_torchvision(backbone, source))
    elif isinstance(backbone, TimmBackbone):
        given = timm_weights(backbone, _read(path) if is_file else fetch_timm(backbone.config.name, source))
    else:
        content = _read(path if is_file else fetch_published(source))
        given = swin_weights(backbone, content) if isinstance(backbone, Swin) else vit_weights(backbone, content)
    KeyReport.compare(backbone.state_dict(), given).require_match(source)
    backbone.load_state_dict(given)


def _first_line(error: Exception) -> str:
    # What PyTorch makes of a file that is none of its own says nothing in a KeyError's message.
    if isinstance(error, KeyError) or not str(error):
        return "it is not a file of PyTorch"
    return str(error).splitlines()[0]


def _read(path: Path) -> dict[str, Tensor]:
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UserError("there is no such file", where=str(path), hint="Check backbone_weights.") from None
    except (OSError, SafetensorError, pickle.UnpicklingError, EOFError, RuntimeError, ValueError, KeyError) as error:
        raise UserError(
            f"cannot be read as weights: {_first_line(error)}",
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
