"""Pretrained weights of a ResNet, under torchvision's names: from a file or downloaded."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from codetr.core.errors import UserError
from codetr.models.backbones.resnet import ResNet
from codetr.weights.pretrained.download import download_error

_TORCHVISION_DEPTHS = (50, 101, 152)


def resnet_weights(backbone: ResNet, given: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return torchvision-style weights without the classifier and the stages that the backbone does not have."""
    stages = {f"layer{stage}" for stage in range(backbone.out_stages[-1] + 2, 5)}
    kept = {key: value for key, value in given.items() if key.partition(".")[0] not in {"fc", *stages}}
    # Old weights do not have these counters, which frozen statistics do not use.
    counters = {key: value for key, value in backbone.state_dict().items() if key.endswith(".num_batches_tracked")}
    return counters | kept


def fetch_torchvision(backbone: ResNet, name: str) -> dict[str, Tensor]:
    """Download torchvision's weights called `name` to torch's cache, and verify their hash.

    Raises:
        UserError: there are no weights for this depth or with this name, or they may not be downloaded.
        RunFailed: the download fails.
    """
    if backbone.depth not in _TORCHVISION_DEPTHS:
        raise UserError(
            f"'{name}' is not a file, and torchvision has no weights for a ResNet of depth {backbone.depth}",
            where="backbone_weights",
            hint=f"Choose a depth of {', '.join(map(str, _TORCHVISION_DEPTHS))}, or give a file.",
        )
    # torchvision takes two seconds to import; weights are usually read from a file.
    from torchvision.models import get_model_weights

    known = get_model_weights(f"resnet{backbone.depth}")
    if name not in known.__members__:
        raise UserError(
            f"'{name}' is neither a file nor the name of torchvision weights",
            where="backbone_weights",
            hint=f"Names for depth {backbone.depth}: {', '.join(known.__members__)}.",
        )
    try:
        return dict(known[name].get_state_dict(progress=False, check_hash=True))
    except (OSError, RuntimeError) as error:
        raise download_error(error, name, known[name].url) from None
