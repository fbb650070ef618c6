"""Pretrained weights of a model of timm, under timm's names: from a file or downloaded."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from codetr.core.errors import UserError
from codetr.models.backbones.timm_backbone import TimmBackbone, import_timm
from codetr.weights.pretrained.download import download_error


def timm_weights(backbone: TimmBackbone, given: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights of timm's complete model without the layers that the backbone does not have."""
    return {f"model.{name}": value for name, value in given.items() if name not in backbone.removed_keys}


def fetch_timm(model: str, tag: str) -> dict[str, Tensor]:
    """Download timm's weights with the tag `tag` of the model called `model` to the cache of Hugging Face.

    Raises:
        UserError: there are no weights with this tag, or they may not be downloaded.
        RunFailed: the download fails.
    """
    timm = import_timm()
    tags = [name.partition(".")[2] for name in timm.list_pretrained(f"{model}.*")]
    if tag not in tags:
        raise UserError(
            f"'{tag}' is neither a file nor a tag of timm's weights for '{model}'",
            where="backbone_weights",
            hint=f"Tags: {', '.join(tags)}." if tags else "There are no tags for this model; give a file.",
        )
    try:
        return dict(timm.create_model(f"{model}.{tag}", pretrained=True).state_dict())
    except (OSError, RuntimeError) as error:
        source = timm.get_pretrained_cfg(f"{model}.{tag}")
        file = f"model.safetensors of https://huggingface.co/{source.hf_hub_id}" if source.hf_hub_id else source.url
        raise download_error(error, f"{model}.{tag}", str(file)) from None
