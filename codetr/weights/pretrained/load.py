"""Initial weights of a backbone: from a file, or published weights downloaded by name."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from codetr.models.backbones.build import Backbone
from codetr.models.backbones.resnet import ResNet
from codetr.models.backbones.swin import Swin
from codetr.models.backbones.timm_backbone import TimmBackbone
from codetr.weights.foreign_file import only_tensors, read_foreign, require_finite, unwrapped
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
        UserError: there is no such file or name, the file cannot be read or contains something else, or keys or
            shapes do not match; the backbone is unchanged then.
        RunFailed: the weights cannot be downloaded.
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
    require_finite(given, source)
    backbone.load_state_dict(given)


def _read(path: Path) -> dict[str, Tensor]:
    content, _ = unwrapped(read_foreign(path), _WRAPPERS)
    return only_tensors(content, str(path))
