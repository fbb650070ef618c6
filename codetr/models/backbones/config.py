"""The settings of the backbones."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, PositiveInt, model_validator

from codetr.config import Settings

NormKind = Literal["frozen_batch", "group"]


def _ascending(stages: tuple[int, ...]) -> tuple[int, ...]:
    if not stages or list(stages) != sorted(set(stages)):
        raise ValueError("must be ascending stages without repetition")
    return stages


OutStages = Annotated[tuple[Annotated[int, Field(ge=0, le=3)], ...], AfterValidator(_ascending)]
"""Stages of a backbone with four stages (0..3, strides 4..32) that are put out."""

FrozenStages = Annotated[int, Field(ge=-1, le=4)]


def _pyramid_strides(out_stages: tuple[int, ...]) -> tuple[int, ...]:
    strides = [4 * 2**stage for stage in out_stages]
    return (*strides, strides[-1] * 2)


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
    out_stages: OutStages = (1, 2, 3)
    frozen_stages: FrozenStages = 1
    norm: NormKind = "frozen_batch"

    @property
    def out_channels(self) -> tuple[int, ...]:
        """Channels of every map that is put out."""
        return tuple(self.base_width * 4 * 2**stage for stage in self.out_stages)

    @property
    def pyramid_strides(self) -> tuple[int, ...]:
        """Strides of the maps the neck makes of them, in input pixels: those put out and one coarser."""
        return _pyramid_strides(self.out_stages)


class SwinConfig(Settings):
    """A Swin Transformer (Liu et al., ICCV 2021). The defaults are the sizes of Swin-T.

    Attributes:
        width: channels of the first stage; every further stage has twice as many.
        depths: blocks of the four stages.
        attention_heads: heads of the four stages; must divide their channels.
        window_size: side of the attention windows, in tokens.
        out_stages: stages (0..3, strides 4..32) whose maps go to the neck, in ascending order.
        drop_path: probability that the last block's residual branches are left out for an image in training; it
            grows linearly from 0.
        frozen_stages: -1 trains everything, 0 freezes the patch embedding, n it and the first n stages.
        checkpointing: keep no activations of blocks for the backward pass but compute them again, which saves memory
            and costs time.
    """

    kind: Literal["swin"] = "swin"
    width: PositiveInt = 96
    depths: tuple[PositiveInt, PositiveInt, PositiveInt, PositiveInt] = (2, 2, 6, 2)
    attention_heads: tuple[PositiveInt, PositiveInt, PositiveInt, PositiveInt] = (3, 6, 12, 24)
    window_size: PositiveInt = 7
    out_stages: OutStages = (1, 2, 3)
    drop_path: Annotated[float, Field(ge=0, lt=1)] = 0.2
    frozen_stages: FrozenStages = -1
    checkpointing: bool = False

    @model_validator(mode="after")
    def _check(self) -> Self:
        for stage, (channels, heads) in enumerate(zip(self.channels, self.attention_heads, strict=True)):
            if channels % heads:
                raise ValueError(f"stage {stage} has {channels} channels, which {heads} attention_heads do not divide")
        return self

    @property
    def channels(self) -> tuple[int, ...]:
        """Channels of the four stages."""
        return tuple(self.width * 2**stage for stage in range(4))

    @property
    def out_channels(self) -> tuple[int, ...]:
        """Channels of every map that is put out."""
        return tuple(self.channels[stage] for stage in self.out_stages)

    @property
    def pyramid_strides(self) -> tuple[int, ...]:
        """Strides of the maps the neck makes of them, in input pixels: those put out and one coarser."""
        return _pyramid_strides(self.out_stages)


BackboneConfig = Annotated[ResNetConfig | SwinConfig, Field(discriminator="kind")]
"""Any backbone; `kind` tells which."""
