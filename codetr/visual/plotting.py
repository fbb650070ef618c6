"""Common style of all plots, and writing them to files; without a display or matplotlib's global state."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.text import Text
from numpy.typing import ArrayLike

from codetr.visual.drawing import elide
from codetr.visual.fonts import REGULAR, drawable, font_file

INK, SOFT = "#1f2933", "#9aa5b1"
_LINE = "#e4e7eb"

MOST_BARS = 40
"""Largest number of classes in a readable bar chart."""


def style_axes(axes: Axes, title: str, x: str, y: str) -> None:
    """Set the title and the axis labels, and add a pale grid behind the data."""
    axes.set_title(title, loc="left", fontsize=11, fontweight="bold", color=INK)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(True, color=_LINE, lw=0.7)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def name_ticks(axis: Axis, positions: ArrayLike, names: Sequence[str], **style: Any) -> None:
    """Label ticks with names from users, shortened and without markup: a class may be called "$5 note".

    Letters that no font has are replaced by their code points.

    Args:
        axis: `Axes.xaxis` or `Axes.yaxis`.
        positions: of the ticks.
        names: one per tick.
        style: of the text.
    """
    axis.set_ticks(positions, [drawable(elide(name), default=REGULAR) for name in names], **style)
    show_literally(axis.get_ticklabels())


def show_literally(texts: Iterable[Text]) -> None:
    """Show `$` in texts literally, not as the start of a formula, and use a font that has their glyphs."""
    for text in texts:
        text.set_parse_math(False)
        file = font_file(text.get_text(), REGULAR)
        if file not in (None, REGULAR):
            font = text.get_fontproperties().copy()
            font.set_file(file)
            text.set_fontproperties(font)


def save(figure: Figure, target: Path | BinaryIO) -> None:
    """Write a figure as PNG."""
    # Without matplotlib's name and version in the file, the same data gives the same bytes.
    figure.savefig(target, format="png", dpi=110, metadata={"Software": None})
