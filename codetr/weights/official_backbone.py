"""Reading the backbone and the neck of an official configuration."""

from __future__ import annotations

from typing import Any

from codetr.weights.official_reader import Reader

# Values of each type of backbone, and of the neck that goes with it, that are constants here.
_CONSTANTS: dict[str, dict[str, tuple[Any, ...]]] = {
    "ResNet": {
        "backbone.style": ("pytorch",),
        "neck.type": ("ChannelMapper",),
        "neck.kernel_size": (1,),
    },
}


def backbone_faults(model: Reader) -> list[str]:
    """What of the backbone and the neck cannot be built, a line each.

    Args:
        model: of the whole detector.
    """
    kind = model.get("backbone.type")
    if kind not in _CONSTANTS:
        return [f"backbone.type is {kind!r}, only {' or '.join(map(repr, _CONSTANTS))} can be built"]
    return model.faults(_CONSTANTS[kind])


def read_backbone(backbone: Reader) -> dict[str, Any]:
    """The values of a `BackboneConfig`."""
    return _READERS[backbone.get("type")](backbone)


def _resnet(backbone: Reader) -> dict[str, Any]:
    return {
        "kind": "resnet",
        "depth": backbone.get("depth"),
        "base_width": backbone.get("base_channels", 64),
        "out_stages": backbone.get("out_indices", [0, 1, 2, 3]),
        "frozen_stages": backbone.get("frozen_stages", -1),
    }


_READERS = {"ResNet": _resnet}
