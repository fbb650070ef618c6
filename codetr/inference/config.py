"""Settings of the wrappers; apart from them, so that they can be checked where there is no PyTorch."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, PositiveFloat, PositiveInt

from codetr.core.settings import Settings


class TTAConfig(Settings):
    """Test-time augmentation.

    Attributes:
        scales: sizes of the network's input, as factors of the model's own.
        flip: whether every scale is also seen mirrored left to right.
    """

    scales: Annotated[tuple[PositiveFloat, ...], Field(min_length=1)] = (1.0, 1.25)
    flip: bool = True


class TilesConfig(Settings):
    """Detection in tiles.

    Attributes:
        size: side of the square tiles, in pixels of the image.
        overlap: how much of a tile its neighbours share with it at least, as a fraction of its side. Objects up to
            this size are whole in some tile; larger ones are found in the image as a whole.
        batch_size: tiles that are detected at once.
    """

    size: Annotated[int, Field(ge=32)]
    overlap: Annotated[float, Field(ge=0, lt=1)] = 0.25
    batch_size: PositiveInt = 1
