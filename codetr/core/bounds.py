"""Types of settings with bounds that are far beyond any detector.

A wrong value is reported when settings are read, before it asks for all memory or all time.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

MAX_LAYERS = 1000

Layers = Annotated[int, Field(gt=0, le=MAX_LAYERS)]
LayersOrZero = Annotated[int, Field(ge=0, le=MAX_LAYERS)]

Channels = Annotated[int, Field(gt=0, le=2**16)]
SmallCount = Annotated[int, Field(gt=0, le=1024)]
"""A number of attention heads, sampling points or threads, or the size of an anchor in strides."""

Workers = Annotated[int, Field(ge=0, le=1024)]
"""A number of loader processes; zero for none."""

Cells = Annotated[int, Field(gt=0, le=1024)]
"""A side in cells of a map."""

MAX_SIDE = 2**14

Pixels = Annotated[int, Field(gt=0, le=MAX_SIDE)]
"""A side in pixels of an image as the detector gets it."""

Count = Annotated[int, Field(gt=0, le=10**6)]
"""A number of queries, boxes, classes or images."""

MAX_STEPS = 10**9

Steps = Annotated[int, Field(gt=0, le=MAX_STEPS)]
StepsOrZero = Annotated[int, Field(ge=0, le=MAX_STEPS)]
"""A number of optimiser steps or epochs, far more than any machine does in its lifetime."""

MAX_SEED = 2**62
"""Generators of random numbers take 64 bits, and numbers are added to a seed."""

Seed = Annotated[int, Field(ge=0, le=MAX_SEED)]

Fraction = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
NonNegativeFloat = Annotated[float, Field(ge=0, le=1e9, allow_inf_nan=False)]
PositiveFloat = Annotated[float, Field(gt=0, le=1e9, allow_inf_nan=False)]
