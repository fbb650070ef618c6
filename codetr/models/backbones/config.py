"""Configuration of the backbones."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, NonNegativeInt, model_validator

from codetr.core.bounds import Cells, Channels, Layers, Pixels, SmallCount
from codetr.core.settings import Settings

NormKind = Literal["frozen_batch", "group"]

PATCH_SIZE = 16
"""Side in pixels of the patches of a plain vision transformer."""

PLAIN_PYRAMID = (4, 8, 16, 32, 64)
"""Strides of the feature pyramid that is built from one map of stride 16, in pixels of the input."""


def _ascending(values: tuple[int, ...]) -> tuple[int, ...]:
    if not values or list(values) != sorted(set(values)):
        raise ValueError("must be ascending and without duplicates")
    return values


OutStages = Annotated[tuple[Annotated[int, Field(ge=0, le=3)], ...], AfterValidator(_ascending)]
"""Output stages of a backbone with four stages (0..3, strides 4..32)."""

OutStrides = Annotated[tuple[Literal[4, 8, 16, 32, 64], ...], AfterValidator(_ascending)]
"""Strides of output feature maps, in pixels of the input."""

FrozenStages = Annotated[int, Field(ge=-1, le=4)]


def _pyramid_strides(out_stages: tuple[int, ...]) -> tuple[int, ...]:
    strides = [4 * 2**stage for stage in out_stages]
    return (*strides, strides[-1] * 2)


class ResNetConfig(Settings):
    """A ResNet with bottleneck blocks.

    Attributes:
        depth: 26, 50, 101 or 152.
        base_width: channels of the stem; the stages have 4, 8, 16 and 32 times as many.
        out_stages: stages (0..3, strides 4..32) whose maps go to the neck, in ascending order.
        frozen_stages: -1 trains everything, 0 freezes the stem, n the stem and the first n stages.
        norm: "frozen_batch" keeps pretrained statistics, as published; "group" for training from random weights.
        checkpointing: activation checkpointing of the blocks, which saves memory and costs time.
    """

    kind: Literal["resnet"] = "resnet"
    depth: Literal[26, 50, 101, 152] = 50
    base_width: Channels = 64
    out_stages: OutStages = (1, 2, 3)
    frozen_stages: FrozenStages = 1
    norm: NormKind = "frozen_batch"
    checkpointing: bool = False

    @property
    def out_channels(self) -> tuple[int, ...]:
        """Channels of every output map."""
        return tuple(self.base_width * 4 * 2**stage for stage in self.out_stages)

    @property
    def pyramid_strides(self) -> tuple[int, ...]:
        """Strides of the neck's maps, in pixels of the input: those of the output maps and a coarser one."""
        return _pyramid_strides(self.out_stages)


class SwinConfig(Settings):
    """A Swin Transformer (Liu et al., ICCV 2021). The defaults are the sizes of Swin-T.

    Attributes:
        width: channels of the first stage; every further stage has twice as many.
        depths: blocks of the four stages.
        attention_heads: heads of the four stages; must divide their channels.
        window_size: side of the attention windows, in tokens.
        out_stages: stages (0..3, strides 4..32) whose maps go to the neck, in ascending order.
        drop_path: stochastic depth: probability that the residual branches of the last block are dropped for an image
            in training; it grows linearly from 0.
        frozen_stages: -1 trains everything, 0 freezes the patch embedding, n also the first n stages.
        checkpointing: activation checkpointing of the blocks, which saves memory and costs time.
    """

    kind: Literal["swin"] = "swin"
    width: Channels = 96
    depths: tuple[Layers, Layers, Layers, Layers] = (2, 2, 6, 2)
    attention_heads: tuple[SmallCount, SmallCount, SmallCount, SmallCount] = (3, 6, 12, 24)
    window_size: Cells = 7
    out_stages: OutStages = (1, 2, 3)
    drop_path: Annotated[float, Field(ge=0, lt=1)] = 0.2
    frozen_stages: FrozenStages = -1
    checkpointing: bool = False

    @model_validator(mode="after")
    def _check(self) -> Self:
        for stage, (channels, heads) in enumerate(zip(self.channels, self.attention_heads, strict=True)):
            if channels % heads:
                raise ValueError(
                    f"stage {stage} has {channels} channels, not a multiple of its {heads} attention_heads"
                )
        return self

    @property
    def channels(self) -> tuple[int, ...]:
        """Channels of the four stages."""
        return tuple(self.width * 2**stage for stage in range(4))

    @property
    def out_channels(self) -> tuple[int, ...]:
        """Channels of every output map."""
        return tuple(self.channels[stage] for stage in self.out_stages)

    @property
    def pyramid_strides(self) -> tuple[int, ...]:
        """Strides of the neck's maps, in pixels of the input: those of the output maps and a coarser one."""
        return _pyramid_strides(self.out_stages)


class ViTConfig(Settings):
    """A plain vision transformer in the style of EVA-02, with attention in windows; defaults are those of ViT-L.

    Attributes:
        channels: channels of the tokens; a multiple of four times `attention_heads`.
        feedforward_channels: hidden channels of the gated feed-forward networks.
        window_size: side of the attention windows, in tokens of 16×16 pixels.
        global_blocks: blocks (0..depth-1), in ascending order, that attend across the whole image.
        pretrained_grid: side, in tokens, of the square grid of learnt positions; it is resized to any image.
        canvas: side in pixels of the square that every batch must be padded to, for models trained with "large-scale
            jitter"; None for models that accept images of any size.
        drop_path: stochastic depth: probability that the last block is dropped for an image in training; it grows
            linearly from 0.
        checkpointing: activation checkpointing of the blocks, which saves memory and costs time.
    """

    kind: Literal["vit"] = "vit"
    channels: Channels = 1024
    depth: Layers = 24
    attention_heads: SmallCount = 16
    feedforward_channels: Channels = 2730
    window_size: Cells = 24
    global_blocks: tuple[NonNegativeInt, ...] = (3, 7, 11, 15, 19, 23)
    pretrained_grid: Cells = 32
    canvas: Pixels | None = None
    drop_path: Annotated[float, Field(ge=0, lt=1)] = 0.4
    checkpointing: bool = True

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.channels % (4 * self.attention_heads):
            raise ValueError(f"channels must be a multiple of four times {self.attention_heads} heads")
        if list(self.global_blocks) != sorted(set(self.global_blocks) & set(range(self.depth))):
            raise ValueError(f"global_blocks must be ascending blocks below {self.depth} without duplicates")
        if self.canvas is not None and self.canvas % PATCH_SIZE:
            raise ValueError(f"canvas must be a multiple of {PATCH_SIZE}")
        return self

    @property
    def out_channels(self) -> tuple[int, ...]:
        """Channels of the one output map."""
        return (self.channels,)

    @property
    def pyramid_strides(self) -> tuple[int, ...]:
        """Strides of the neck's maps, in pixels of the input."""
        return PLAIN_PYRAMID


class TimmConfig(Settings):
    """A model of timm that provides feature maps and accepts images of any size, e.g. ConvNeXt.

    Attributes:
        name: timm's name without the tag of weights: "convnext_tiny", "efficientnet_b0", "vit_small_patch16_dinov3".
        out_strides: strides of the maps that go to the neck, in pixels of the input, in ascending order. `(16,)` is for
            plain vision transformers: one map, from which the neck builds five.
        drop_path: stochastic depth, for models that have it: probability that the residual branches of the last block
            are dropped for an image in training; it grows linearly from 0.
        checkpointing: activation checkpointing of the blocks, which saves memory and costs time.
    """

    kind: Literal["timm"] = "timm"
    name: Annotated[str, Field(pattern=r"^\w+$")]
    out_strides: OutStrides = (8, 16, 32)
    drop_path: Annotated[float, Field(ge=0, lt=1)] = 0.0
    checkpointing: bool = False

    @property
    def plain(self) -> bool:
        """Whether the neck builds a feature pyramid from one map, as for a plain vision transformer."""
        return self.out_strides == (PATCH_SIZE,)

    @property
    def pyramid_strides(self) -> tuple[int, ...]:
        """Strides of the neck's maps, in pixels of the input."""
        return PLAIN_PYRAMID if self.plain else (*self.out_strides, self.out_strides[-1] * 2)


BackboneConfig = Annotated[ResNetConfig | SwinConfig | ViTConfig | TimmConfig, Field(discriminator="kind")]
"""Configuration of any backbone, by its `kind`."""
