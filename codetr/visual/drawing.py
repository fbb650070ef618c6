"""Draw boxes with captions, and masks, on images of any size, for any number of classes."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from codetr.visual.captions import CaptionLayout, Rectangle
from codetr.visual.fonts import BOLD, drawable, font_file

Colour = tuple[int, int, int]

# The seven colours of Okabe and Ito (Color Universal Design, 2008), which are distinct without red or green receptors
# too, then thirteen of the greatest distance (CIELAB, as seen with and without deuteranopia) to those before them.
# Further classes get computed ones.
_PALETTE: tuple[Colour, ...] = (
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (240, 228, 66),
    (0, 114, 178),
    (213, 94, 0),
    (204, 121, 167),
    (85, 0, 255),
    (0, 255, 0),
    (255, 17, 238),
    (255, 0, 102),
    (102, 85, 34),
    (238, 204, 153),
    (102, 51, 187),
    (68, 153, 0),
    (0, 255, 153),
    (0, 255, 255),
    (187, 153, 255),
    (170, 0, 136),
    (170, 68, 68),
)
GREY: Colour = (170, 176, 184)

_MOST_LETTERS = 32
"""Letters of a name in a picture or a plot."""


_TINT = 90
"""Opacity of a mask's colour, of 255."""

_FEW = 12
"""Boxes whose lines and captions have their full size; those of a picture with more are smaller."""


@dataclass(frozen=True)
class Box:
    """One box to draw.

    Attributes:
        xyxy: corners in pixels of the image.
        label: class index, which selects the colour; None draws it grey.
        caption: text beside the box; empty for none. Letters that no font has are replaced by the class index, and a
            caption wider than the picture is cut.
        dashed: draw a dashed outline.
        mask: (height, width) bool over the image, tinted in the colour of the box.
    """

    xyxy: Rectangle
    label: int | None
    caption: str = ""
    dashed: bool = False
    mask: NDArray[np.bool_] | None = None


def class_colour(label: int) -> Colour:
    """Return the colour of a class: from the palette first, then with hues spaced by the golden ratio."""
    if label < len(_PALETTE):
        return _PALETTE[label]
    hue = (0.11 + label * 0.61803398875) % 1.0
    lightness = (0.5, 0.62, 0.4)[label % 3]
    red, green, blue = colorsys.hls_to_rgb(hue, lightness, 0.85)
    return round(red * 255), round(green * 255), round(blue * 255)


def draw_boxes(image: NDArray[np.uint8], boxes: Sequence[Box], *, long_side: int = 960) -> Image.Image:
    """Draw boxes on a copy of an image, scaled so that lines and labels are readable.

    Small images are enlarged (at most eight times) and large ones reduced, so that the longer side has `long_side`
    pixels. Masks are drawn first, then boxes from large to small, then captions where they hide the least. Among many
    boxes they are smaller, may be apart from their box with a line to it, and where there is no room, are left out.

    Args:
        image: (height, width, 3) RGB.
        boxes: in the drawing order of captions, least important first.
        long_side: longer side of the result in pixels.
    """
    height, width = image.shape[:2]
    scale = min(long_side / max(height, width), 8.0)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    resample = Image.Resampling.BICUBIC if scale > 1 else Image.Resampling.LANCZOS
    canvas = Image.fromarray(image).resize(size, resample)
    for box in sorted(boxes, key=lambda box: -_area(box.xyxy)):
        if box.mask is not None:
            _tint(canvas, box.mask, _colour(box))
    draw = ImageDraw.Draw(canvas)
    shrunk = max(size) * min(1.0, (_FEW / max(len(boxes), 1)) ** 0.3)
    line, letter_height = max(2, round(shrunk / 240)), max(13, round(shrunk / 52))

    scaled = [(box, _scale(box.xyxy, (width, height), size)) for box in boxes]
    for box, corners in sorted(scaled, key=lambda item: -_area(item[1])):
        _outline(draw, corners, _colour(box), line, dashed=box.dashed)
    layout = CaptionLayout(size, [corners for _, corners in scaled])
    # The most important caption is positioned first and drawn last.
    captions = []
    for k in reversed(range(len(boxes))):
        if boxes[k].caption:
            text = drawable(boxes[k].caption, boxes[k].label)
            text, font = fitted_text(text, BOLD, letter_height, size[0] - 3 * line)
            ascent, descent = font.getmetrics()
            position = layout.place(k, (font.getlength(text) + 3 * line, ascent + descent + line))
            if position is not None:
                captions.append((text, _colour(boxes[k]), position, font))
    for _, colour, position, _ in captions:
        if position.leader is not None:
            draw.line(position.leader, fill=(0, 0, 0), width=max(1, line // 2) + 2)
            draw.line(position.leader, fill=colour, width=max(1, line // 2))
    for text, colour, position, font in reversed(captions):
        _caption(draw, text, colour, position.spot, font)
    return canvas


def elide(text: str, length: int = _MOST_LETTERS) -> str:
    """Shorten `text` to `length` characters, and replace control characters."""
    clean = "".join(character if character.isprintable() else "�" for character in text)
    return clean if len(clean) <= length else f"{clean[: length - 1]}…"


@lru_cache(maxsize=16)
def _font(file: Path, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(file, size)


def fitted_text(text: str, file: Path, size: int, width: float) -> tuple[str, ImageFont.FreeTypeFont]:
    """Return a text, cut to this width in pixels, and the font to draw it with.

    Args:
        text: one line.
        file: the font that is used if it has all glyphs, else one of the system.
        size: of the font in pixels.
        width: at least one letter remains, even if it is wider.
    """
    font = _font(font_file(text, file) or file, size)
    whole = text
    while len(text) > 1 and (length := font.getlength(text)) > width:
        kept = max(1, min(len(text) - 1, int(len(text) * width / length)))
        text = elide(whole, kept)
    return text, font


def _colour(box: Box) -> Colour:
    return GREY if box.label is None else class_colour(box.label)


def _tint(canvas: Image.Image, mask: NDArray[np.bool_], colour: Colour) -> None:
    """Blend a colour into the canvas where the mask, scaled to it, is."""
    strength = Image.fromarray(mask.astype(np.uint8) * _TINT).resize(canvas.size, Image.Resampling.BILINEAR)
    canvas.paste(colour, (0, 0), strength)


def _area(box: Rectangle) -> float:
    return max(0.0, box[2] - box[0]) * max(0.0, box[3] - box[1])


def _scale(box: Rectangle, image: tuple[int, int], canvas: tuple[int, int]) -> Rectangle:
    """Scale a box from the image to the canvas, clip it, and make it at least two pixels wide and high."""
    x_scale, y_scale = canvas[0] / image[0], canvas[1] / image[1]
    x1, x2 = (min(max(x * x_scale, 0), canvas[0] - 1) for x in (box[0], box[2]))
    y1, y2 = (min(max(y * y_scale, 0), canvas[1] - 1) for y in (box[1], box[3]))
    return x1, y1, max(x2, x1 + 2), max(y2, y1 + 2)


def _outline(draw: ImageDraw.ImageDraw, box: Rectangle, colour: Colour, line: int, *, dashed: bool) -> None:
    x1, y1, x2, y2 = box
    # A thick line would cover a small object.
    line = max(1, min(line, int(min(x2 - x1, y2 - y1) / 8)))
    if not dashed:
        # A thin dark edge keeps the outline visible on a background of the same colour.
        draw.rectangle((x1 - 1, y1 - 1, x2 + 1, y2 + 1), outline=(0, 0, 0), width=line + 2)
        draw.rectangle(box, outline=colour, width=line)
        return
    dash, gap = line * 4, line * 3
    for start in np.arange(x1, x2, dash + gap):
        end = min(start + dash, x2)
        for y in (y1, y2):
            draw.line((start, y, end, y), fill=(0, 0, 0), width=line + 2)
            draw.line((start, y, end, y), fill=colour, width=line)
    for start in np.arange(y1, y2, dash + gap):
        end = min(start + dash, y2)
        for x in (x1, x2):
            draw.line((x, start, x, end), fill=(0, 0, 0), width=line + 2)
            draw.line((x, start, x, end), fill=colour, width=line)


def _caption(
    draw: ImageDraw.ImageDraw, text: str, colour: Colour, spot: Rectangle, font: ImageFont.FreeTypeFont
) -> None:
    brightness = 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2]
    draw.rectangle(spot, fill=colour)
    middle = (spot[0] + spot[2]) / 2, (spot[1] + spot[3]) / 2
    draw.text(middle, text, fill=(0, 0, 0) if brightness > 120 else (255, 255, 255), font=font, anchor="mm")
