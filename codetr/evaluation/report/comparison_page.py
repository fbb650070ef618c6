"""What a comparison is shown as: a plot of differences, and a page."""

from __future__ import annotations

import io
from pathlib import Path

from matplotlib.figure import Figure

from codetr.core.files import atomic_directory, write_json, write_text
from codetr.evaluation.comparison.bootstrap import LEAST_IMAGES
from codetr.evaluation.comparison.compare import Comparison, Row
from codetr.visual.html import data_uri, page_environment
from codetr.visual.plotting import INK, MOST_BARS, SOFT, name_ticks, save, style_axes

_BETTER, _WORSE = "#2f9e5f", "#d64545"
PARTS = ("compare.json", "differences.png", "report.html")
"""What is in the folder of a comparison."""


def write_comparison(folder: Path, comparison: Comparison) -> None:
    """Write the numbers, the plot and the page; the folder appears, or replaces an earlier one, as a whole."""
    with atomic_directory(folder) as unfinished:
        write_json(unfinished / PARTS[0], comparison.to_json())
        plot = plot_differences(comparison)
        (unfinished / PARTS[1]).write_bytes(plot)
        write_text(unfinished / PARTS[2], render_comparison(comparison, plot))


def plot_differences(comparison: Comparison) -> bytes:
    """A PNG: every difference of the summary with its interval, and those of the classes that are clear."""
    summary = [row for row in comparison.summary if row.difference.low is not None]
    clear = [row for row in comparison.clear if row.difference.low is not None][:MOST_BARS]
    groups = [("Summary", summary), ("AP of classes that clearly differ", clear)]
    shown = [(title, rows) for title, rows in groups if rows]
    height = sum(0.32 * len(rows) + 1.1 for _, rows in shown) or 1.0
    figure = Figure(figsize=(9, height), layout="constrained")
    if shown:
        axes = figure.subplots(len(shown), 1, squeeze=False, height_ratios=[len(rows) + 2 for _, rows in shown])
        for own, (title, rows) in zip(axes[:, 0], shown, strict=True):
            own.axvline(0, color=SOFT, lw=1)
            for place, row in enumerate(rows):
                value, low, high = (getattr(row.difference, name) or 0.0 for name in ("value", "low", "high"))
                colour = _colour(row)
                own.plot([low, high], [place, place], color=colour, lw=2.2, solid_capstyle="round")
                own.plot([value], [place], "o", color=colour, ms=5)
            name_ticks(own.yaxis, range(len(rows)), [row.name for row in rows], fontsize=9)
            own.set_ylim(len(rows) - 0.4, -0.6)
            interval = f"{100 * comparison.confidence:g} % interval"
            style_axes(own, title, f"second model less the first, with its {interval}", "")
    buffer = io.BytesIO()
    save(figure, buffer)
    return buffer.getvalue()


def render_comparison(comparison: Comparison, plot: bytes) -> str:
    """The page as HTML."""
    environment = page_environment("codetr.evaluation.report")
    environment.filters["number"] = lambda value: "\u2013" if value is None else f"{value:.3f}"
    environment.filters["chance"] = chance
    environment.filters["signed"] = lambda value: "\u2013" if value is None else f"{value:+.3f}"
    return environment.get_template("comparison.html").render(
        comparison=comparison,
        plot=data_uri("png", plot),
        clear=comparison.clear,
        least=LEAST_IMAGES,
    )


def chance(p: float | None) -> str:
    """A p-value as text."""
    return "\u2013" if p is None else f"{p:.3f}" if p >= 0.001 else "< 0.001"


def _colour(row: Row) -> str:
    low, high = row.difference.low or 0.0, row.difference.high or 0.0
    return _BETTER if low > 0 else _WORSE if high < 0 else INK
