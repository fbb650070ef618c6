"""Image files with random damage: an image of the size in its header, or an error that names the file."""

from __future__ import annotations

import io
import os
import random
from typing import Any

import numpy as np
import pytest
from PIL import Image

from codetr.core.errors import UserError
from codetr.data.images import decode_image, header_of, open_image

MUTATIONS = int(os.environ.get("CODETR_TEST_MUTATIONS", "300"))
"""More of them find rarer faults; each takes some milliseconds."""

PIXELS = np.random.default_rng(0).integers(0, 256, (24, 32, 3)).astype(np.uint8)
NUMBERS = [b"\xff\xff\xff\xff", bytes(4), b"\x7f\xff\xff\xff", b"\0\0\0\1"]


def encoded(kind: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image = Image.fromarray(PIXELS)
    if kind == "16 bits":
        image, kind = Image.fromarray(PIXELS[..., 0].astype(np.uint16) * 200), "TIFF"
    else:
        exif = Image.Exif()
        exif[0x0112], exif[0x010E] = 6, "description"
        options |= {} if kind in ("GIF", "PPM", "JPEG2000") else {"exif": exif}
    image.save(stream, kind, **options)
    return stream.getvalue()


FILES = [encoded(kind) for kind in ("JPEG", "PNG", "TIFF", "WEBP", "GIF", "PPM", "AVIF", "JPEG2000", "MPO", "16 bits")]
FILES += [encoded("TIFF", compression=name) for name in ("tiff_lzw", "tiff_adobe_deflate")]
FILES += [b"P5 24 32 4095\n" + bytes(24 * 32 * 2), b"P2 2 2 4095 1 2 3 4"]


def damaged(content: bytes, draw: random.Random) -> bytes:
    """Change, remove or overwrite some bytes, most of them near the start, where the sizes are."""
    changed = bytearray(content)
    for _ in range(draw.choice([1, 1, 2, 4, 8])):
        position = draw.randrange(min(len(changed), draw.choice([64, 400, 100_000])))
        kind = draw.randrange(4)
        if kind == 0:
            changed[position] = draw.randrange(256)
        elif kind == 1:
            changed[position] ^= 1 << draw.randrange(8)
        elif kind == 2:
            del changed[position : position + draw.randrange(1, min(9, len(changed)))]
        else:
            changed[position : position + 4] = draw.choice(NUMBERS)
    return bytes(changed)


@pytest.mark.filterwarnings("ignore")
def test_damaged_files_are_read_or_refused() -> None:
    """Decoders raise almost anything; a traceback ends the preparation of a whole dataset."""
    draw = random.Random(5)
    read = 0
    for _ in range(MUTATIONS):
        content = damaged(draw.choice(FILES), draw)
        for upright in (True, False):
            try:
                with open_image(content, "image", max_pixels=100_000) as image:
                    header = header_of(image)
                    pixels = decode_image(image, "image", upright=upright)
            except UserError:
                continue
            assert pixels.shape == (*header.size(upright=upright), 3)
            read += 1
    assert read > MUTATIONS // 5
