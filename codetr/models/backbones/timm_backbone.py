"""Any image model of timm that gives feature maps (Wightman, "PyTorch Image Models") as a backbone.

timm is optional: it is imported when a configuration asks for it.
"""

from __future__ import annotations

from difflib import get_close_matches
from types import ModuleType
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from codetr.core.errors import UserError
from codetr.models.backbones.config import TimmConfig

_WHERE = "backbone.name"


class TimmBackbone(nn.Module):
    """Feature maps of chosen strides, from the last layer that has each.

    Layers after the last map are removed. Batch normalisations keep the statistics and the scale they were loaded with,
    as those of a published ResNet do: the few images of a batch are too few to estimate them.

    Args:
        config: which model, and what is put out.

    Raises:
        UserError: timm is not installed or has no such model, or the model does not take the settings, has no maps of
            these strides or cannot take images of any size.
    """

    def __init__(self, config: TimmConfig) -> None:
        super().__init__()
        self.config = config
        self.model: Any = _create(config)
        layers = list(self.model.feature_info)
        found = {layer["reduction"]: index for index, layer in enumerate(layers)}
        if not set(config.out_strides) <= set(found):
            raise UserError(
                f"maps of '{config.name}' have strides {_listed(found)}, not {_listed(config.out_strides)}",
                where="backbone.out_strides",
                hint="Choose among those of 4, 8, 16, 32 and 64.",
            )
        indices = [found[stride] for stride in config.out_strides]
        self.out_channels = tuple(int(layers[index]["num_chs"]) for index in indices)
        ceil_div = set(self.model.state_dict())
        # Layers behind the last map would be parameters without a purpose.
        self._indices = self.model.prune_intermediate_layers(indices, prune_norm=True, prune_head=True)
        self.removed = ceil_div - set(self.model.state_dict())
        for norm in self._batch_norms():
            norm.requires_grad_(False)
        self._try_out()
        if config.checkpointing:
            try:
                self.model.set_grad_checkpointing(True)
            except (AssertionError, AttributeError):
                problem = f"'{config.name}' cannot compute activations again"
                raise UserError(problem, where="backbone.checkpointing", hint="Set it to false.") from None
        self.train()

    def _batch_norms(self) -> list[nn.Module]:
        return [module for module in self.model.modules() if isinstance(module, _BatchNorm)]

    def train(self, mode: bool = True) -> Self:
        """As usual, but batch normalisations stay in evaluation mode."""
        super().train(mode)
        for norm in self._batch_norms():
            norm.eval()
        return self

    def forward(self, pixels: Tensor) -> list[Tensor]:
        """Normalised images (batch, 3, height, width) to maps (batch, channels, height / stride, width / stride).

        Sizes are rounded up. Images are padded for it: many models drop what is beyond a multiple of their stride.
        """
        height, width = pixels.shape[-2:]
        coarsest = self.config.out_strides[-1]
        pixels = F.pad(pixels, (0, -width % coarsest, 0, -height % coarsest))
        maps = self.model.forward_intermediates(
            pixels, indices=self._indices, norm=False, output_fmt="NCHW", intermediates_only=True
        )
        strides = self.config.out_strides
        return [x[..., : -(-height // s), : -(-width // s)] for x, s in zip(maps, strides, strict=True)]

    def _try_out(self) -> None:
        """Find out with a small image what timm does not tell: whether it fits, and which parameters do nothing."""
        strides, parameters = self.config.out_strides, [p for p in self.parameters() if p.requires_grad]
        height, width = 3 * strides[-1], 5 * strides[-1]
        try:
            with torch.enable_grad():
                maps = self.eval()(torch.zeros(1, 3, height, width))
        except (AssertionError, RuntimeError, TypeError, ValueError) as error:
            reason = str(error) or type(error).__name__
            problem = f"'{self.config.name}' fails for an image of {width} by {height} pixels ({reason})"
            raise UserError(problem, where=_WHERE, hint="Choose a model that takes images of any size.") from None
        expected = [(c, height // s, width // s) for c, s in zip(self.out_channels, strides, strict=True)]
        if [tuple(x.shape[1:]) for x in maps] != expected:
            problem = f"maps of '{self.config.name}' have shapes {[tuple(x.shape[1:]) for x in maps]}, not {expected}"
            raise UserError(problem, where=_WHERE, hint="Choose another model.")
        # Distributed training waits for the gradient of every trainable parameter.
        total = torch.stack([x.sum() for x in maps]).sum()
        for parameter, gradient in zip(
            parameters, torch.autograd.grad(total, parameters, allow_unused=True), strict=True
        ):
            parameter.requires_grad_(gradient is not None)


def import_timm() -> ModuleType:
    """timm, or a `UserError` that says how to install it."""
    try:
        import timm
    except ModuleNotFoundError:
        hint = 'Install it: pip install "codetr[timm]".'
        raise UserError("the backbone needs timm, which is not installed", where=_WHERE, hint=hint) from None
    return timm


def _create(config: TimmConfig) -> Any:
    """timm's model with random weights."""
    timm = import_timm()
    if not timm.is_model(config.name):
        similar = get_close_matches(config.name, timm.list_models(), n=5, cutoff=0.3)
        raise UserError(f"timm has no '{config.name}'", where=_WHERE, hint=f"Similar names: {', '.join(similar)}.")
    settings: dict[str, Any] = {"drop_path_rate": config.drop_path} if config.drop_path else {}
    try:
        try:
            # Models with learnt positions are made for one size unless told otherwise, others do not know the word.
            model = timm.create_model(config.name, **settings, dynamic_img_size=True)
        except TypeError:
            model = timm.create_model(config.name, **settings)
    except TypeError as error:
        raise UserError(f"'{config.name}' does not take these settings ({error})", where="backbone") from None
    if not hasattr(model, "forward_intermediates"):
        hint = "Choose another model; newer versions of timm have more."
        raise UserError(f"'{config.name}' gives no feature maps", where=_WHERE, hint=hint)
    return model


def _listed(strides: Any) -> str:
    return ", ".join(map(str, strides))
