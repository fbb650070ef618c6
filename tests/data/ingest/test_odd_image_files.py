"""docs/reference/odd_files.md: every row about images from cameras and other programs has its real outcome."""

from __future__ import annotations

import io
import json
import os
import struct
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from codetr.data.config import SourceConfig
from codetr.data.dataset.split import Split
from codetr.data.ingest.config import PrepareConfig
from codetr.data.ingest.summary import read_report
from codetr.data.validation.finding_kinds import KINDS
from codetr.steps.prepare import prepare
from tests.support.paths import ROOT

PIXELS = np.random.default_rng(0).integers(0, 256, (30, 40, 3)).astype(np.uint8)
VALUES = np.random.default_rng(0).integers(0, 4096, (30, 40)).astype(np.uint16)
UPRIGHT, STORED = (40, 30), (30, 40)


@dataclass
class Odd:
    """An image file, its declared (height, width), its box, and settings of `prepare`."""

    name: str
    content: bytes | None
    size: tuple[int, int] | None = STORED
    box: tuple[int, int, int, int] = (5, 6, 10, 12)
    settings: dict[str, Any] = field(default_factory=dict)


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def turned(kind: str) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return saved(Image.fromarray(PIXELS), kind, exif=exif)


def tiff_with_entry(tag: int, kind: int, value: int) -> bytes:
    """A grey TIFF of 16 bits with a further tag, in the entry of one that has no meaning for a single channel."""
    content = bytearray(saved(Image.fromarray(VALUES), "TIFF"))
    planar_configuration = struct.pack("<HHI", 284, 3, 1)
    struct.pack_into("<HHII", content, content.index(planar_configuration), tag, kind, 1, value)
    return bytes(content)


def png_with(kind: bytes, text: bytes) -> bytes:
    content = saved(Image.fromarray(PIXELS), "PNG")
    end = content.index(b"IEND") - 4
    checksum = struct.pack(">I", zlib.crc32(kind + text))
    return content[:end] + struct.pack(">I", len(text)) + kind + text + checksum + content[end:]


LARGE_TEXT = b"x\0\0" + zlib.compress(bytes(20 << 20))
PGM = b"P5 40 30 %d\n"
ROWS: list[list[Odd]] = [
    [Odd(f"a.{kind.lower()}", turned(kind), UPRIGHT) for kind in ("TIFF", "PNG", "WEBP", "AVIF", "JPEG")],
    [Odd("a.jpg", turned("JPEG"), STORED, (5, 20, 10, 19)), Odd("a.tif", turned("TIFF"), STORED, (5, 20, 10, 19))],
    [Odd("a.jpg", turned("JPEG"), UPRIGHT, (20, 5, 19, 10)), Odd("a.tif", turned("TIFF"), None, (20, 5, 19, 10))],
    [
        Odd("a.png", saved(Image.fromarray(VALUES), "PNG")),
        Odd("a.tif", saved(Image.fromarray(VALUES * 4), "TIFF")),
        Odd("a.pgm", PGM % 65535 + (VALUES // 4).astype(">u2").tobytes()),
    ],
    [Odd("a.png", saved(Image.fromarray(VALUES), "PNG"), settings={"range_16bit": (0, 1023)})],
    [Odd("a.pgm", PGM % maximum + (VALUES % maximum).astype(">u2").tobytes()) for maximum in (4095, 1023)],
    [Odd("a.tif", tiff_with_entry(339, 3, 2))],
    [Odd("a.png", png_with(b"zTXt", LARGE_TEXT)), Odd("a.png", png_with(b"eXIf", turned("PNG")[:0]))],
    [
        Odd("a.mpo", saved(Image.fromarray(PIXELS), "MPO")),
        Odd("a.jfif", saved(Image.fromarray(PIXELS), "JPEG")),
        Odd("a.avif", saved(Image.fromarray(PIXELS), "AVIF")),
        Odd("a.pbm", saved(Image.fromarray(PIXELS).convert("1"), "PPM")),
    ],
    [Odd("a.jpg", b"\0\0\0\x18ftypheic" + bytes(99)), Odd("a.dcm", bytes(128) + b"DICM" + bytes(99))],
    [Odd("a.dng", tiff_with_entry(50706, 4, 0x00000401))],
    [Odd("a.jpg", saved(Image.fromarray(PIXELS), "JPEG"), settings={"max_pixels": 1000})],
    [Odd("a.jpg", None)],
]
"""The files of every row, in the order of the page."""


def rows() -> list[tuple[str, set[str]]]:
    """Outcome and findings of every row of the page's table."""
    page = (ROOT / "docs" / "reference" / "odd_files.md").read_text(encoding="utf-8")
    section = page.split("\n## Image files from cameras and other programs\n")[1].split("\n## ")[0]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if "|" in line]
    return [(outcome, set(found.replace("`", "").split())) for _, outcome, found in cells[2:]]


def found_in(folder: Path, odd: Odd) -> tuple[bool, set[str]]:
    """Whether the image is in the dataset, and what was found about it; a sound image is beside it."""
    (folder / "good.png").write_bytes(saved(Image.fromarray(255 - PIXELS), "PNG"))
    if odd.content is None:
        os.mkfifo(folder / odd.name)
    else:
        (folder / odd.name).write_bytes(odd.content)
    declared = {} if odd.size is None else {"height": odd.size[0], "width": odd.size[1]}
    images = [{"id": 1, "file_name": odd.name, **declared}, {"id": 2, "file_name": "good.png"}]
    boxes = {1: odd.box, 2: (1, 1, 9, 9)}
    content = {
        "images": images,
        "annotations": [
            {"id": k, "image_id": k, "category_id": 1, "bbox": list(box), "area": box[2] * box[3]}
            for k, box in boxes.items()
        ],
        "categories": [{"id": 1, "name": "a"}],
    }
    (folder / "a.json").write_text(json.dumps(content))
    source = SourceConfig(annotations=str(folder / "a.json"), images=str(folder))
    if "max_pixels" in odd.settings:
        (folder / "good.png").write_bytes(saved(Image.fromarray(PIXELS[:20, :20]), "PNG"))
    prepare(PrepareConfig(train=source, val=source, **odd.settings), folder / "out")
    report = read_report(folder / "out").splits["train"].findings
    named = {finding.name for finding in report if any(example.startswith("image 1 ") for example in finding.examples)}
    return 1 in Split.open(folder / "out", "train").image_ids, named - {"image_size_missing", "image_frames_ignored"}


@pytest.mark.parametrize("number", range(len(ROWS)))
def test_rows_say_what_is_done(tmp_path: Path, number: int) -> None:
    """A row that is wrong, or a file that is treated in another way than its row says."""
    outcome, named = rows()[number]
    actions = {KINDS[name].action for name in named} or {"kept"}
    assert actions == {outcome}
    for k, odd in enumerate(ROWS[number]):
        folder = tmp_path / str(k)
        folder.mkdir()
        kept, found = found_in(folder, odd)
        assert kept == (outcome != "dropped")
        assert named <= found
        assert found - named <= {"image_size_wrong"}


def test_every_row_has_its_files() -> None:
    assert len(rows()) == len(ROWS)
