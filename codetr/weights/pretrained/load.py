"""Initial weights of a backbone: from a file, or published weights downloaded by name."""

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
    """Load pretrained weights into a backbone, in place.

    The classifier, and stages that the backbone does not have, are skipped; everything else must match.

    Args:
        backbone: the backbone to initialise.
        source: path of a .safetensors file, or of a .pth file with a state dict, at the top level or under "model",
            "module" or "state_dict". Or a name of weights: for a ResNet torchvision's, such as "IMAGENET1K_V1", for a
            model of timm a tag, such as "d2_in1k", otherwise one of `pretrained.download.URLS`.

    Raises:
        UserError: there is no such file or name, the file cannot be read or contains something else, the download
            fails, or keys or shapes do not match; the backbone is unchanged then.
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


def _reason(error: Exception) -> str:
    # For a file that is not PyTorch's, the message of its KeyError is meaningless.
    if isinstance(error, KeyError) or not str(error):
        return "it is not a PyTorch file"
    return str(error).splitlines()[0]


def _read(path: Path) -> dict[str, Tensor]:
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UserError("no such file", where=str(path), hint="Correct backbone_weights.") from None
    except (OSError, SafetensorError, pickle.UnpicklingError, EOFError, RuntimeError, ValueError, KeyError) as error:
        raise UserError(
            f"cannot be read as weights: {_reason(error)}",
            where=str(path),
            hint="Give a .safetensors file, or a .pth file with a state dict.",
        ) from None
    while isinstance(content, Mapping) and (key := next((key for key in _WRAPPERS if key in content), None)):
        content = content[key]
    if not isinstance(content, Mapping) or not all(isinstance(value, Tensor) for value in content.values()):
        raise UserError(
            "contains values that are not tensors, expected a state dict",
            where=str(path),
            hint="Save only the state dict of the backbone.",
        )
    return dict(content)
