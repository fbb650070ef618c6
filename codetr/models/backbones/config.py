"""The settings of the backbones."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, PositiveInt, model_validator

from codetr.config import Settings

NormKind = Literal["frozen_batch", "group"]


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


BackboneConfig = ResNetConfig
"""Any backbone; `kind` tells which."""
