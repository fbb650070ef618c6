"""The look that all plots share, and how they are written; without a display and matplotlib's global state."""

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

INK, SOFT = "#1f2933", "#9aa5b1"
_LINE = "#e4e7eb"
_MOST_LETTERS = 32

MOST_BARS = 40
"""Classes that a bar each can be read of."""


def style_axes(axes: Axes, title: str, x: str, y: str) -> None:
    """Title, names of the axes, and a pale grid behind what is drawn."""
    axes.set_title(title, loc="left", fontsize=11, fontweight="bold", color=INK)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(True, color=_LINE, lw=0.7)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def name_ticks(axis: Axis, places: ArrayLike, names: Sequence[str], **style: Any) -> None:
    """Ticks with names that users gave, shortened, and shown as they are: a class may be called "$5 note".

    Args:
        axis: `Axes.xaxis` or `Axes.yaxis`.
        places: of the ticks.
        names: one each.
        style: of the text.
    """
    axis.set_ticks(places, [elide(name, _MOST_LETTERS) for name in names], **style)
    show_literally(axis.get_ticklabels())


def show_literally(texts: Iterable[Text]) -> None:
    """Take `$` in texts for itself, not for the beginning of a formula."""
    for text in texts:
        text.set_parse_math(False)


def save(figure: Figure, target: Path | BinaryIO) -> None:
    """Write a figure as PNG."""
    # Without the program's name and version in the file, the same numbers give the same bytes.
    figure.savefig(target, format="png", dpi=110, metadata={"Software": None})
