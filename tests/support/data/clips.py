"""Small videos to read."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image


def picture(number: int) -> Image.Image:
    """A picture of 64 by 48 pixels in two colours, which show its number and which way is up."""
    pixels = np.zeros((48, 64, 3), np.uint8)
    pixels[:24, :, 1] = 200
    pixels[24:, :, 0] = 20 * (number % 12)
    return Image.fromarray(pixels)


def write_clip(path: Path, frames: int, *, rotation: int = 0, sound: bool = False) -> Path:
    """Pictures at 25 a second, in the container that the suffix names; or just sound."""
    path.parent.mkdir(exist_ok=True)
    with av.open(str(path), "w") as container:
        if sound:
            speaker = container.add_stream("aac", rate=8000)
            noise = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            noise.sample_rate = 8000
            container.mux(speaker.encode(noise))
            container.mux(speaker.encode(None))
            return path
        stream = container.add_stream("libx264", rate=25, options={"g": "10"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        if rotation:
            stream.set_display_rotation(rotation)
        for number in range(frames):
            frame = av.VideoFrame.from_image(picture(number))
            frame.pts, frame.time_base = number, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path
