"""Colour jitter: brightness, contrast, saturation and hue of an image changed at random, in random order.

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
    """An image in other colours, or as it is.

    Args:
        image: (height, width, 3) uint8 RGB.
        config: how often, and how far at most.
        random: what to draw from; as often whatever is drawn and set.

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
        # What is not to change is left alone: hues would be rounded on their way there and back.
        if name == "hue" and config.hue:
            picture = turn_hue(picture, shift)
        elif most.get(name):
            picture = _ENHANCERS[name](picture).enhance(factors[name])
    return np.array(picture)


def turn_hue(picture: Image.Image, shift: float) -> Image.Image:
    """An RGB picture with its hues turned by `shift`, a share of the colour circle, in whole steps of 1/255."""
    hue, saturation, value = picture.convert("HSV").split()
    turned = (np.asarray(hue).astype(np.int64) + int(shift * 255)) % 256
    return Image.merge("HSV", (Image.fromarray(turned.astype(np.uint8)), saturation, value)).convert("RGB")
