"""The look that all plots share, and how they are written; without a display and matplotlib's global state."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

from matplotlib.axes import Axes
from matplotlib.figure import Figure

INK, SOFT = "#1f2933", "#9aa5b1"
_LINE = "#e4e7eb"

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


def save(figure: Figure, target: Path | BinaryIO) -> None:
    """Write a figure as PNG."""
    # Without the program's name and version in the file, the same numbers give the same bytes.
    figure.savefig(target, format="png", dpi=110, metadata={"Software": None})
