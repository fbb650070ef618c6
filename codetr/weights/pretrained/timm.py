"""Weights for a backbone of timm: timm's names, from a file or downloaded."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from codetr.core.errors import UserError
from codetr.models.backbones.timm_backbone import TimmBackbone, import_timm


def timm_weights(backbone: TimmBackbone, given: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of timm's whole model without the layers the backbone does not have."""
    return {f"model.{name}": value for name, value in given.items() if name not in backbone.removed_keys}


def fetch_timm(model: str, tag: str) -> dict[str, Tensor]:
    """The weights timm has under `tag` for the model called `model`, downloaded into the cache of Hugging Face.

    Raises:
        UserError: there are none of this tag, or the download fails.
    """
    timm = import_timm()
    tags = [name.partition(".")[2] for name in timm.list_pretrained(f"{model}.*")]
    if tag not in tags:
        raise UserError(
            f"'{tag}' is neither a file nor the tag of weights that timm has for '{model}'",
            where="backbone_weights",
            hint=f"Tags are: {', '.join(tags)}." if tags else "It has none; give a file.",
        )
    try:
        return timm.create_model(f"{model}.{tag}", pretrained=True).state_dict()
    except (OSError, RuntimeError) as error:
        source = timm.get_pretrained_cfg(f"{model}.{tag}")
        file = f"model.safetensors of https://huggingface.co/{source.hf_hub_id}" if source.hf_hub_id else source.url
        raise UserError(
            f"downloading timm's '{model}.{tag}' failed: {str(error).rstrip('.')}",
            where="backbone_weights",
            hint=f"Download {file} elsewhere and give its path instead.",
        ) from None
