"""Files of a comparison: numbers, a plot of differences, and a page."""

from __future__ import annotations

import io
from pathlib import Path

from jinja2 import Environment
from matplotlib.figure import Figure

from codetr.core.files import atomic_directory, write_json, write_text
from codetr.evaluation.comparison.bootstrap import MIN_IMAGES
from codetr.evaluation.comparison.compare import ComparedMetric, EvaluationComparison, signed
from codetr.visual.html import data_uri, page_environment
from codetr.visual.plotting import INK, MOST_BARS, SOFT, name_ticks, save, style_axes

MIN_REACH = 0.005
"""Least difference at the ends of the axis."""

_BETTER, _WORSE = "#2f9e5f", "#d64545"
PARTS = ("compare.json", "differences.png", "report.html")
"""The files in the folder of a comparison."""


def write_comparison(folder: Path, comparison: EvaluationComparison) -> None:
    """Write the numbers, the plot and the page; the folder appears, or replaces an earlier one, atomically."""
    with atomic_directory(folder) as unfinished:
        write_json(unfinished / PARTS[0], comparison.to_json())
        plot = plot_differences(comparison.summary, comparison.significant, comparison.confidence)
        (unfinished / PARTS[1]).write_bytes(plot)
        write_text(unfinished / PARTS[2], render_comparison(comparison, plot))


def plot_differences(summary: list[ComparedMetric], classes: list[ComparedMetric], confidence: float) -> bytes:
    """Return a PNG of every difference of the summary, and of classes, with its interval.

    Args:
        summary: the metrics of the summary.
        classes: classes; as many as can be read are drawn.
        confidence: of the intervals.
    """
    groups = [
        ("Summary", [row for row in summary if row.difference.value is not None]),
        ("AP of classes with significant differences", [row for row in classes if row.difference.value is not None]),
    ]
    shown = [(title, rows[:MOST_BARS]) for title, rows in groups if rows]
    height = sum(0.32 * len(rows) + 1.1 for _, rows in shown) or 1.0
    figure = Figure(figsize=(11, height), layout="constrained")
    if shown:
        grid = figure.subplots(len(shown), 1, squeeze=False, height_ratios=[len(rows) + 2 for _, rows in shown])
        for axes, (title, rows) in zip(grid[:, 0], shown, strict=True):
            axes.axvline(0, color=SOFT, lw=1)
            for position, row in enumerate(rows):
                value, low, high = (getattr(row.difference, name) for name in ("value", "low", "high"))
                colour = _colour(row)
                if low is not None:
                    axes.plot([low, high], [position, position], color=colour, lw=2.2, solid_capstyle="round")
                axes.plot([value], [position], "o", color=colour, ms=5)
            # Around equal models zero stays in the middle, without an axis of rounding errors.
            reach = max(MIN_REACH, *(abs(limit) for limit in axes.get_xlim()))
            axes.set_xlim(-reach, reach)
            name_ticks(axes.yaxis, range(len(rows)), [row.name for row in rows], fontsize=9)
            axes.set_ylim(len(rows) - 0.4, -0.6)
            style_axes(axes, title, f"second minus first model, with {100 * confidence:g} % confidence interval", "")
    buffer = io.BytesIO()
    save(figure, buffer)
    return buffer.getvalue()


def render_comparison(comparison: EvaluationComparison, plot: bytes) -> str:
    """Return the page as HTML."""
    environment = page_environment("codetr.evaluation.report")
    add_comparison_filters(environment)
    return environment.get_template("comparison.html").render(
        comparison=comparison,
        plot=data_uri("png", plot),
        min_images=MIN_IMAGES,
        max_classes=None,
    )


def add_comparison_filters(environment: Environment) -> None:
    """Add what `comparison_tables.html` needs: metrics and differences with four digits, as in the terminal."""
    environment.filters["figure"] = lambda value: "\u2013" if value is None else f"{value:.4f}"
    environment.filters["p_value"] = p_value
    environment.filters["signed"] = lambda value: "\u2013" if value is None else signed(value)


def p_value(p: float | None) -> str:
    """Return a p-value as text."""
    return "\u2013" if p is None else f"{p:.3f}" if p >= 0.001 else "< 0.001"


def _colour(row: ComparedMetric) -> str:
    low, high = row.difference.low or 0.0, row.difference.high or 0.0
    return _BETTER if low > 0 else _WORSE if high < 0 else INK
