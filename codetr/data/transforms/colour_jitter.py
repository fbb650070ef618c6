"""Colour jitter: random brightness, contrast, saturation and hue, applied in random order.

The definitions are those of torchvision's `ColorJitter` on Pillow images, byte for byte.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance

from codetr.data.config import ColourConfig

_ENHANCERS = {
    "brightness": ImageEnhance.Brightness,
    "contrast": ImageEnhance.Contrast,
    "saturation": ImageEnhance.Color,
}


def jitter_colour(image: NDArray[np.uint8], config: ColourConfig, random: np.random.Generator) -> NDArray[np.uint8]:
    """Change the colours of an image with the configured probability, else return it unchanged.

    Args:
        image: (height, width, 3) uint8 RGB.
        config: probability and strengths.
        random: the generator; the number of draws does not depend on their values or on `config`.

    Returns:
        (height, width, 3) uint8 RGB.
    """
    chosen = random.random() < config.probability
    most = {name: float(getattr(config, name)) for name in _ENHANCERS}
    factors = {name: random.uniform(max(0.0, 1 - part), 1 + part) for name, part in most.items()}
    shift = random.uniform(-config.hue, config.hue)
    order = [[*most, "hue"][k] for k in random.permutation(len(most) + 1)]
    if not chosen:
        return image
    picture = Image.fromarray(image)
    for name in order:
        # A strength of 0 is skipped: converting to HSV and back would round the colours.
        if name == "hue" and config.hue:
            picture = shift_hue(picture, shift)
        elif most.get(name):
            picture = _ENHANCERS[name](picture).enhance(factors[name])
    return np.array(picture)


def shift_hue(picture: Image.Image, shift: float) -> Image.Image:
    """Shift the hues of an RGB picture by `shift`, a share of the colour circle, in steps of 1/255."""
    hue, saturation, value = picture.convert("HSV").split()
    turned = (np.asarray(hue).astype(np.int64) + int(shift * 255)) % 256
    return Image.merge("HSV", (Image.fromarray(turned.astype(np.uint8)), saturation, value)).convert("RGB")
