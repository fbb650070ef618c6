"""The settings of the backbones."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from codetr.config import Settings

NormKind = Literal["frozen_batch", "group"]

PATCH_SIZE = 16
"""Side in pixels of the patches that a vision transformer makes tokens of."""


class ResNetConfig(Settings):
    """A ResNet with bottleneck blocks.

    Attributes:
        depth: 26, 50, 101 or 152.
        base_width: channels of the stem; the stages put out 4, 8, 16 and 32 times as many.
        out_stages: stages (0..3, strides 4..32) whose maps go to the neck, in ascending order.
        frozen_stages: -1 trains everything, 0 freezes the stem, n the stem and the first n stages.
        norm: "frozen_batch" keeps pretrained statistics, as published; "group" for training from random weights.
    """

    kind: Literal["resnet"] = "resnet"
    depth: Literal[26, 50, 101, 152] = 50
    base_width: PositiveInt = 64
    out_stages: tuple[Annotated[int, Field(ge=0, le=3)], ...] = (1, 2, 3)
    frozen_stages: Annotated[int, Field(ge=-1, le=4)] = 1
    norm: NormKind = "frozen_batch"

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not self.out_stages or list(self.out_stages) != sorted(set(self.out_stages)):
            raise ValueError("out_stages must be ascending stages without repetition")
        return self

    @property
    def out_channels(self) -> tuple[int, ...]:
        """Channels of every map that is put out."""
        return tuple(self.base_width * 4 * 2**stage for stage in self.out_stages)

    @property
    def pyramid_strides(self) -> tuple[int, ...]:
        """Strides of the maps the neck makes of them, in input pixels: those put out and one coarser."""
        strides = [4 * 2**stage for stage in self.out_stages]
        return (*strides, strides[-1] * 2)


class ViTConfig(Settings):
    """A plain vision transformer in the style of EVA-02, with attention in windows; defaults are those of ViT-L.

    Attributes:
        channels: of the tokens; a multiple of four times `attention_heads`.
        feedforward_channels: hidden channels of the gated feedforward networks.
        window_size: side of the attention windows, in tokens of 16×16 pixels.
        global_blocks: blocks (0..depth-1), in ascending order, that attend across the whole image.
        pretrained_grid: side, in tokens, of the square grid of learnt positions; it is resized to any image.
        canvas: side in pixels of the square that every batch must be padded to, for models trained with "large-scale
            jitter"; None for models that take images of any size.
        drop_path: probability that the last block is left out for an image in training; it grows linearly from 0.
        checkpointing: keep no activations of blocks for the backward pass but compute them again, which saves memory
            and costs time.
    """

    kind: Literal["vit"] = "vit"
    channels: PositiveInt = 1024
    depth: PositiveInt = 24
    attention_heads: PositiveInt = 16
    feedforward_channels: PositiveInt = 2730
    window_size: PositiveInt = 24
    global_blocks: tuple[NonNegativeInt, ...] = (3, 7, 11, 15, 19, 23)
    pretrained_grid: PositiveInt = 32
    canvas: PositiveInt | None = None
    drop_path: Annotated[float, Field(ge=0, lt=1)] = 0.4
    checkpointing: bool = True

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.channels % (4 * self.attention_heads):
            raise ValueError(f"channels must be a multiple of four times {self.attention_heads} heads")
        if list(self.global_blocks) != sorted(set(self.global_blocks) & set(range(self.depth))):
            raise ValueError(f"global_blocks must be ascending blocks below {self.depth} without repetition")
        if self.canvas is not None and self.canvas % PATCH_SIZE:
            raise ValueError(f"canvas must be a multiple of {PATCH_SIZE}")
        return self

    @property
    def out_channels(self) -> tuple[int, ...]:
        """Channels of the one map that is put out."""
        return (self.channels,)

    @property
    def pyramid_strides(self) -> tuple[int, ...]:
        """Strides of the maps the neck makes of it, in input pixels."""
        return (4, 8, 16, 32, 64)


BackboneConfig = Annotated[ResNetConfig | ViTConfig, Field(discriminator="kind")]
"""Any backbone; `kind` tells which."""
