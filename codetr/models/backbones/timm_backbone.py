"""Image models of timm (Wightman, "PyTorch Image Models") as backbones.

timm is optional: it is imported when a configuration requires it.
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
from codetr.core.extras import install_hint
from codetr.models.backbones.config import TimmConfig

_WHERE = "backbone.name"


class TimmBackbone(nn.Module):
    """A model of timm that returns feature maps of given strides, each from the last layer with its stride.

    Layers after the last map are removed. Batch normalisations are frozen, as in a published ResNet: a batch has too
    few images to estimate their statistics.

    Args:
        config: name of the model, output strides.

    Raises:
        UserError: timm is not installed or has no such model, or the model does not accept the settings, has no maps of
            these strides or does not accept images of any size.
    """

    def __init__(self, config: TimmConfig) -> None:
        super().__init__()
        self.config = config
        self.model: Any = _create(config)
        layers = list(self.model.feature_info)
        index_of_stride = {layer["reduction"]: index for index, layer in enumerate(layers)}
        if not set(config.out_strides) <= set(index_of_stride):
            raise UserError(
                f"maps of '{config.name}' have strides {_listed(index_of_stride)}, not {_listed(config.out_strides)}",
                where="backbone.out_strides",
                hint="Choose among those of 4, 8, 16, 32 and 64.",
            )
        indices = [index_of_stride[stride] for stride in config.out_strides]
        self.out_channels = tuple(int(layers[index]["num_chs"]) for index in indices)
        all_keys = set(self.model.state_dict())
        # Layers after the last map would have unused parameters.
        self._indices = self.model.prune_intermediate_layers(indices, prune_norm=True, prune_head=True)
        self.removed_keys = all_keys - set(self.model.state_dict())
        for norm in self._batch_norms():
            norm.requires_grad_(False)
        self._check_on_sample()
        if config.checkpointing:
            try:
                self.model.set_grad_checkpointing(True)
            except (AssertionError, AttributeError):
                problem = f"'{config.name}' does not support activation checkpointing"
                raise UserError(problem, where="backbone.checkpointing", hint="Set it to false.") from None
        self.train()

    def _batch_norms(self) -> list[nn.Module]:
        return [module for module in self.model.modules() if isinstance(module, _BatchNorm)]

    def train(self, mode: bool = True) -> Self:
        """Set the mode; batch normalisations stay in evaluation mode."""
        super().train(mode)
        for norm in self._batch_norms():
            norm.eval()
        return self

    def forward(self, pixels: Tensor) -> list[Tensor]:
        """Map normalised images (batch, 3, height, width) to (batch, channels, height / stride, width / stride).

        Sizes are rounded up. Images are padded first: many models drop pixels beyond a multiple of their stride.
        """
        height, width = pixels.shape[-2:]
        coarsest = self.config.out_strides[-1]
        pixels = F.pad(pixels, (0, -width % coarsest, 0, -height % coarsest))
        maps = self.model.forward_intermediates(
            pixels, indices=self._indices, norm=False, output_fmt="NCHW", intermediates_only=True
        )
        strides = self.config.out_strides
        return [x[..., : -(-height // s), : -(-width // s)] for x, s in zip(maps, strides, strict=True)]

    def _check_on_sample(self) -> None:
        """Run a small image to check the shapes of the maps and to freeze parameters that do not contribute to them."""
        strides, parameters = self.config.out_strides, [p for p in self.parameters() if p.requires_grad]
        height, width = 3 * strides[-1], 5 * strides[-1]
        try:
            with torch.enable_grad():
                maps = self.eval()(torch.zeros(1, 3, height, width))
        except (AssertionError, RuntimeError, TypeError, ValueError) as error:
            reason = str(error) or type(error).__name__
            problem = f"'{self.config.name}' fails for an image of {width} by {height} pixels ({reason})"
            raise UserError(problem, where=_WHERE, hint="Choose a model that accepts images of any size.") from None
        expected = [(c, height // s, width // s) for c, s in zip(self.out_channels, strides, strict=True)]
        if [tuple(x.shape[1:]) for x in maps] != expected:
            problem = f"maps of '{self.config.name}' have shapes {[tuple(x.shape[1:]) for x in maps]}, not {expected}"
            raise UserError(problem, where=_WHERE, hint="Choose another model.")
        # Distributed training expects a gradient for every trainable parameter.
        total = torch.stack([x.sum() for x in maps]).sum()
        for parameter, gradient in zip(
            parameters, torch.autograd.grad(total, parameters, allow_unused=True), strict=True
        ):
            parameter.requires_grad_(gradient is not None)


def import_timm() -> ModuleType:
    """Import timm.

    Raises:
        UserError: it is not installed.
    """
    try:
        import timm
    except ModuleNotFoundError:
        hint = install_hint("timm")
        raise UserError("the backbone requires timm, which is not installed", where=_WHERE, hint=hint) from None
    return timm


def _create(config: TimmConfig) -> Any:
    """Create timm's model with random weights."""
    timm = import_timm()
    if not timm.is_model(config.name):
        similar = get_close_matches(config.name, timm.list_models(), n=5, cutoff=0.3)
        raise UserError(f"timm has no '{config.name}'", where=_WHERE, hint=f"Similar names: {', '.join(similar)}.")
    settings: dict[str, Any] = {"drop_path_rate": config.drop_path} if config.drop_path else {}
    try:
        try:
            # Without this argument, models with learnt positions accept one size only; others do not have it.
            model = timm.create_model(config.name, **settings, dynamic_img_size=True)
        except TypeError:
            model = timm.create_model(config.name, **settings)
    except TypeError as error:
        raise UserError(f"'{config.name}' does not accept these settings ({error})", where="backbone") from None
    if not hasattr(model, "forward_intermediates"):
        hint = "Choose another model; newer versions of timm have more."
        raise UserError(f"'{config.name}' does not provide feature maps", where=_WHERE, hint=hint)
    return model


def _listed(strides: Any) -> str:
    return ", ".join(map(str, strides))
