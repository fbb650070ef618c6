"""How large the picture of an image is drawn. Prediction needs this without the libraries that draw."""

from __future__ import annotations

_MIN_LONG_SIDE, _MAX_LONG_SIDE = 960, 1920


def picture_length(height: int, width: int) -> int:
    """Return the longer side of the picture of an image, in pixels: small ones are enlarged, large ones reduced."""
    return min(max(height, width, _MIN_LONG_SIDE), _MAX_LONG_SIDE)
