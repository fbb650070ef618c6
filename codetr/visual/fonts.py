"""Choose a font that has the glyphs of a text: matplotlib's if it does, else one of the system.

A missing glyph is drawn as an empty box, the same for every Chinese, Japanese, Korean, Thai or Hindi name.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import matplotlib
from matplotlib import font_manager
from matplotlib.ft2font import FT2Font

# The same on every machine, with more glyphs than Pillow's.
_FOLDER = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
BOLD, REGULAR = _FOLDER / "DejaVuSans-Bold.ttf", _FOLDER / "DejaVuSans.ttf"

_WITHOUT_GLYPH = ("M", "C", "Z")
"""Unicode categories of characters that fonts need not have: marks, control and format characters, blanks."""


def font_file(text: str, default: Path = BOLD, fonts: Sequence[Path] | None = None) -> Path | None:
    """Return a font file that has all glyphs of a text; None if there is none.

    Args:
        text: to be drawn.
        default: the font that is used if it has them.
        fonts: others to search, best first; by default those of the system.
    """
    needed = frozenset(ord(letter) for letter in text if unicodedata.category(letter)[0] not in _WITHOUT_GLYPH)
    return _font_with(needed, default, None if fonts is None else tuple(fonts))


def drawable(text: str, label: int | None = None, default: Path = BOLD, fonts: Sequence[Path] | None = None) -> str:
    """Return a text without the letters that no single font has together with the others.

    Args:
        text: to be drawn.
        label: class index that replaces these letters, as `#3`; None replaces them by their code points.
        default: see `font_file`.
        fonts: see `font_file`.
    """
    if font_file(text, default, fonts) is not None:
        return text
    missing = "".join(letter for letter in dict.fromkeys(text) if not _has_glyph(letter, default))
    if label is None:
        return "".join(
            letter.encode("ascii", "backslashreplace").decode() if letter in missing else letter for letter in text
        )
    letters = f"[{re.escape(missing)}]"
    return re.sub(rf"{letters}(?:\s*{letters})*", f"#{label}", text)


def _has_glyph(letter: str, font: Path) -> bool:
    """Return whether a font has a letter; marks count, which belong to a letter that it has not."""
    return font_file(letter, font, ()) is not None and (
        unicodedata.category(letter)[0] != "M" or ord(letter) in _glyphs(font)
    )


@lru_cache(maxsize=4096)
def _font_with(needed: frozenset[int], default: Path, fonts: tuple[Path, ...] | None) -> Path | None:
    if needed <= _glyphs(default):
        return default
    return next((font for font in (_system_fonts() if fonts is None else fonts) if needed <= _glyphs(font)), None)


@lru_cache(maxsize=1024)
def _glyphs(font: Path) -> frozenset[int]:
    """Return the code points that a font can draw at any size; none of a damaged file or one of bitmaps."""
    try:
        opened = FT2Font(os.fspath(font))
        return frozenset(opened.get_charmap()) if opened.scalable else frozenset()
    except (OSError, RuntimeError):
        return frozenset()


@lru_cache(maxsize=1)
def _system_fonts() -> tuple[Path, ...]:
    """Return the fonts of the system, those that look most like the default first."""

    def order(path: Path) -> tuple[bool, bool, bool, str]:
        name = path.name.lower()
        return "sans" not in name, "bold" not in name, "mono" in name or "italic" in name, name

    return tuple(sorted(map(Path, font_manager.findSystemFonts()), key=order))
