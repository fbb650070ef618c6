"""The course of a training, as a model folder records it: losses by name, learning rate and validation over time."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from codetr.core.errors import UserError
from codetr.core.files import read_json, read_regular_file
from codetr.training.reporting.metrics_file import METRICS
from codetr.visual.plotting import INK, SOFT, save, style_axes
from codetr.weights.model_folder import SUMMARY

_LOSS = "loss/"
_TOTAL = "loss/total"
_COLUMNS = 3
_COLOURS = (
    "#2667c9",
    "#d9822b",
    "#2a9d5c",
    "#d64545",
    "#7a4fd0",
    "#0e9aa7",
    "#c2417c",
    "#8a6d3b",
    "#5c6b7a",
    "#98b400",
)


_PARTS = {
    "encoder": "proposals of the encoder, at which the queries start",
    "decoder": "the detections",
    "dn": "objects with noise that the decoder restores (denoising)",
    "rpn": "auxiliary head: regions that may hold an object",
    "roi": "auxiliary head: classes and boxes of regions",
    "atss": "auxiliary head: a box for each cell of the feature maps",
    "roi_queries": "the decoder, on positive boxes of the head roi",
    "atss_queries": "the decoder, on positive boxes of the head atss",
    "instance": "masks of the detections",
}
_TERMS = {
    "cls": "classes",
    "l1": "distance of boxes",
    "box": "distance of boxes",
    "giou": "overlap of boxes",
    "centerness": "how central a cell is in its object",
    "mask": "masks",
    "iou": "overlap of masks, as predicted",
}


@dataclass(frozen=True)
class TrainingHistory:
    """The course of a training.

    Attributes:
        rows: of `metrics.jsonl`, in the order of the steps.
        published_step: optimiser steps after which the published weights were taken; None if not recorded.
        published_epoch: the epoch that ended then, from 1.
        reason: why these weights were published.
    """

    rows: list[dict[str, Any]]
    published_step: int | None = None
    published_epoch: int | None = None
    reason: str = ""

    @property
    def steps(self) -> int:
        """Optimiser steps of the last row."""
        return int(self.rows[-1]["step"])

    @property
    def epochs(self) -> int:
        """Epoch of the last row, from 1."""
        return int(self.rows[-1]["epoch"])

    def series(self, name: str) -> tuple[list[int], list[float]]:
        """Return the steps of a value, and the value there."""
        found = [(int(row["step"]), float(row[name])) for row in self.rows if row.get(name) is not None]
        return [step for step, _ in found], [value for _, value in found]

    def losses(self) -> dict[str, dict[str, tuple[list[int], list[float]]]]:
        """Return the losses by term (cls, giou, …) and part of the model, summed over the layers of a part.

        "decoder0.cls" and "decoder1.cls" are the term "cls" of the part "decoder".
        """
        sums: dict[str, dict[str, dict[int, float]]] = {}
        for row in self.rows:
            for name, value in row.items():
                if name.startswith(_LOSS) and name != _TOTAL:
                    part, _, rest = name.removeprefix(_LOSS).partition(".")
                    term = rest.rpartition(".")[2] or part
                    steps = sums.setdefault(term, {}).setdefault(re.sub(r"\d+$", "", part), {})
                    steps[int(row["step"])] = steps.get(int(row["step"]), 0.0) + float(value)
        return {
            term: {part: (list(steps), list(steps.values())) for part, steps in parts.items()}
            for term, parts in sums.items()
        }

    def legend(self) -> list[tuple[str, str]]:
        """Return what the names of the losses stand for: of the terms, and of the parts of the model."""
        losses = self.losses()
        parts = dict.fromkeys(part for of_term in losses.values() for part in of_term)
        known = [(term, _TERMS[term]) for term in losses if term in _TERMS]
        return known + [(part.replace("_", " "), _PARTS[part]) for part in parts if part in _PARTS]


def read_history(model: Path) -> TrainingHistory | None:
    """Return the course of a model's training; None if the folder has none, as that of a converted checkpoint.

    Raises:
        UserError: the files are not what training writes.
    """
    if not (model / METRICS).is_file():
        return None
    try:
        lines = read_regular_file(model / METRICS).decode("utf-8").splitlines()
        rows = [dict(json.loads(line)) for line in lines]
        if not all(_is_row(row) for row in rows):
            raise ValueError
    except (ValueError, TypeError, RecursionError):
        raise UserError("is not a file of metrics as training writes it", where=str(model / METRICS)) from None
    if not rows:
        return None
    summary = read_json(model / SUMMARY) if (model / SUMMARY).is_file() else {}
    published = summary.get("published") if isinstance(summary, Mapping) else None
    if not isinstance(published, Mapping):
        return TrainingHistory(rows)
    return TrainingHistory(rows, published.get("step"), published.get("epoch"), str(published.get("reason", "")))


def _is_row(row: Mapping[str, Any]) -> bool:
    """Whether a row has a step and an epoch, and finite numbers or nulls."""
    numbers = [value for value in row.values() if value is not None]
    return {"step", "epoch"} <= row.keys() and all(
        isinstance(value, int | float) and math.isfinite(value) for value in numbers
    )


def plot_training(history: TrainingHistory, path: Path) -> None:
    """Plot validation AP, learning rate, total loss, and every term of the losses by part of the model."""
    terms = history.losses()
    panels = [_plot_validation, _plot_learning_rate, _plot_total]
    rows = -(-(len(panels) + len(terms)) // _COLUMNS)
    figure = Figure(figsize=(11, 2.5 * rows + 0.5), layout="constrained")
    grid = figure.subplots(rows, _COLUMNS, squeeze=False).flatten().tolist()
    for plot, axes in zip(panels, grid, strict=False):
        plot(axes, history)
    parts = list(dict.fromkeys(part for of_term in terms.values() for part in of_term))
    colours = {part: _COLOURS[k % len(_COLOURS)] for k, part in enumerate(parts)}
    lines = {}
    for (term, of_term), axes in zip(terms.items(), grid[len(panels) :], strict=False):
        for part, (steps, values) in of_term.items():
            (lines[part],) = axes.plot(steps, values, color=colours[part], lw=1.5, marker=_marker(steps))
        _style(axes, f"Loss: {term}", history)
        axes.set_ylim(bottom=0)
    for axes in grid[len(panels) + len(terms) :]:
        axes.set_axis_off()
    if lines:
        names = [part.replace("_", " ") for part in lines]
        figure.legend(lines.values(), names, loc="outside lower center", ncols=min(len(lines), 8), frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    save(figure, path)


def _plot_validation(axes: Axes, history: TrainingHistory) -> None:
    series = {name: history.series(f"val/{name}") for name in ("AP50", "AP", "mask_AP")}
    for (name, (steps, values)), colour in zip(series.items(), ("#98b5e3", "#2667c9", "#7a4fd0"), strict=True):
        if steps:
            axes.plot(steps, values, color=colour, lw=2, marker="o", ms=4)
            axes.annotate(
                name.replace("_", " "),
                (steps[-1], values[-1]),
                xytext=(9, 0),
                textcoords="offset points",
                va="center",
                fontsize=8,
                color=colour,
                annotation_clip=False,
            )
    _style(axes, "Validation", history)
    steps, values = series["AP"]
    axes.set_ylim(0, 1)
    if not steps:
        axes.text(0.5, 0.5, "no validation", transform=axes.transAxes, ha="center", color=SOFT)
    if history.published_step in steps:
        value = values[steps.index(history.published_step)]
        axes.plot([history.published_step], [value], "o", ms=10, mfc="none", mec=INK, mew=1.6)
        axes.annotate(
            f"published: epoch {history.published_epoch}, AP {value:.3f}",
            (0.98, 0.94),
            xycoords="axes fraction",
            ha="right",
            va="top",
            fontsize=8,
            color=INK,
        )


def _plot_learning_rate(axes: Axes, history: TrainingHistory) -> None:
    steps, values = history.series("lr")
    axes.plot(steps, values, color="#0e9aa7", lw=2, marker=_marker(steps))
    _style(axes, "Learning rate", history)
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.3g}"))


def _plot_total(axes: Axes, history: TrainingHistory) -> None:
    steps, values = history.series(_TOTAL)
    axes.plot(steps, values, color=INK, lw=2, marker=_marker(steps))
    _style(axes, "Total loss", history)
    axes.set_ylim(bottom=0)


def _style(axes: Axes, title: str, history: TrainingHistory) -> None:
    style_axes(axes, title, "step", "")
    axes.set_xlim(0, max(history.steps, 1) * 1.02)
    axes.tick_params(labelsize=8)
    axes.xaxis.label.set_fontsize(8)
    if history.published_step is not None:
        axes.axvline(history.published_step, color=SOFT, lw=1, ls=":")


def _marker(steps: list[int]) -> str:
    """Return the marker of a line: one of a single point is invisible without."""
    return "o" if len(steps) == 1 else ""
