"""Fonts: names in any script are drawn with a font that has their letters, or stay distinguishable."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib.figure import Figure
from PIL import ImageFont

from codetr.visual.drawing import Box, draw_boxes
from codetr.visual.fonts import BOLD, REGULAR, drawable, font_file
from codetr.visual.plotting import name_ticks


def write_font(path: Path, letters: str) -> Path:
    """A font in which every letter is a square."""
    names = {ord(letter): f"letter{ord(letter)}" for letter in letters}
    pen = TTGlyphPen(None)
    pen.moveTo((100, 0))
    for corner in ((100, 800), (900, 800), (900, 0)):
        pen.lineTo(corner)
    pen.closePath()
    builder = FontBuilder(1000, isTTF=True)
    builder.setupGlyphOrder([".notdef", *names.values()])
    builder.setupCharacterMap(names)
    builder.setupGlyf({name: pen.glyph() for name in (".notdef", *names.values())})
    builder.setupHorizontalMetrics(dict.fromkeys((".notdef", *names.values()), (1000, 100)))
    builder.setupHorizontalHeader(ascent=900, descent=-200)
    builder.setupNameTable({"familyName": path.stem, "styleName": "Regular"})
    builder.setupOS2()
    builder.setupPost()
    builder.save(path)
    return path


@pytest.fixture
def fonts(tmp_path: Path) -> list[Path]:
    (tmp_path / "damaged.ttf").write_bytes(b"no font")
    return [
        tmp_path / "damaged.ttf",
        write_font(tmp_path / "han.ttf", "人車保温杯0123456789. "),
        write_font(tmp_path / "hangul.ttf", "보행자0123456789. "),
    ]


def test_a_font_with_the_letters_is_chosen(fonts: list[Path]) -> None:
    """Chinese, Japanese and Korean names were drawn as empty boxes, all alike."""
    assert font_file("person 0.93", fonts=fonts) == BOLD
    assert font_file("автомобиль سيارة é", fonts=fonts) == BOLD
    assert font_file("人 0.93", fonts=fonts) == fonts[1]
    assert font_file("보행자 0.50", fonts=fonts) == fonts[2]
    assert font_file("人 보", fonts=fonts) is None
    assert font_file("a\N{COMBINING ACUTE ACCENT}\N{ZERO WIDTH JOINER}", fonts=fonts) == BOLD
    font = ImageFont.truetype(fonts[1], 20)
    assert font.getlength("人") == 20


def test_without_a_font_the_label_or_the_code_points_are_drawn(fonts: list[Path]) -> None:
    """Two classes must not look the same."""
    assert drawable("人 0.93", 3, fonts=fonts) == "人 0.93"
    assert drawable("人 0.93", 3, fonts=()) == "#3 0.93"
    assert drawable("保温 杯 0.93", 12, fonts=()) == "#12 0.93"
    assert drawable("red 車 0.5", 0, fonts=()) == "red #0 0.5"
    assert drawable("a-]^人", 1, fonts=()) == "a-]^#1"
    assert drawable("人", fonts=()) == "\\u4eba"
    assert drawable("person", 1, fonts=()) == "person"


def test_names_in_pictures_differ_on_every_machine() -> None:
    """Whatever fonts there are, the same picture for two names would be a wrong report."""
    names = ["人", "車", "보행자", "ねこ", "รถ", "\N{GRINNING FACE}"]
    image = np.full((100, 200, 3), 120, np.uint8)
    pictures = [
        np.asarray(draw_boxes(image, [Box((20, 40, 180, 90), k, f"{name} 0.50")], long_side=400))
        for k, name in enumerate(names)
    ]
    letters = [(picture.max(axis=2) < 60) | (picture.min(axis=2) > 200) for picture in pictures]
    assert not any(np.array_equal(one, other) for one, other in combinations(letters, 2))


def test_ticks_are_drawn_without_missing_glyphs() -> None:
    """matplotlib warns about each missing glyph, and warnings are errors here."""
    axes = Figure().add_subplot()
    name_ticks(axes.xaxis, range(3), ["cat", "人", "$5 보행자"])
    assert axes.figure is not None
    axes.figure.canvas.draw()
    shown = [label.get_text() for label in axes.xaxis.get_ticklabels()]
    assert shown[0] == "cat"
    assert len(set(shown)) == 3
    assert axes.xaxis.get_ticklabels()[0].get_fontproperties().get_file() in (None, str(REGULAR))
