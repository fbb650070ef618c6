"""Types of settings with bounds that are far beyond any detector.

A wrong value is reported when settings are read, before it asks for all memory or all time.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

MAX_LAYERS = 1000

Layers = Annotated[int, Field(gt=0, le=MAX_LAYERS)]
LayersOrNone = Annotated[int, Field(ge=0, le=MAX_LAYERS)]
"""A number of layers that may be zero."""

Channels = Annotated[int, Field(gt=0, le=2**16)]
Heads = Annotated[int, Field(gt=0, le=1024)]
"""A number of attention heads, or of points, scales or groups."""

Cells = Annotated[int, Field(gt=0, le=1024)]
"""A side in cells of a map."""

Pixels = Annotated[int, Field(gt=0, le=2**14)]
"""A side in pixels of an image as the detector gets it."""

Count = Annotated[int, Field(gt=0, le=10**6)]
"""A number of queries, boxes or classes."""

Fraction = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Weight = Annotated[float, Field(ge=0, le=1e9, allow_inf_nan=False)]
Scale = Annotated[float, Field(gt=0, le=1e9, allow_inf_nan=False)]
