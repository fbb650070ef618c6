"""Settings of test-time augmentation and tiled inference; they can be validated without PyTorch."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from codetr.core.bounds import Count, Pixels
from codetr.core.settings import Settings

Scale = Annotated[float, Field(gt=0, le=16, allow_inf_nan=False)]


class TTAConfig(Settings):
    """Test-time augmentation.

    Attributes:
        scales: sizes of the network's input, as factors of the model's.
        flip: also detect in the mirror image of every scale.
    """

    scales: Annotated[tuple[Scale, ...], Field(min_length=1, max_length=64)] = (1.0, 1.25)
    flip: bool = True


class TilesConfig(Settings):
    """Tiled inference.

    Attributes:
        size: side of the square tiles, in pixels of the image.
        overlap: smallest overlap of neighbouring tiles, as a fraction of their side, at most 0.95. Objects up to this
            size are whole in some tile; larger ones are detected in the whole image.
        batch_size: tiles in a batch.
    """

    size: Annotated[Pixels, Field(ge=32)]
    overlap: Annotated[float, Field(ge=0, le=0.95)] = 0.25
    batch_size: Count = 1
