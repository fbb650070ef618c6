"""Plots of an evaluation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from numpy.typing import NDArray

from codetr.core.text import counted
from codetr.evaluation.analysis.calibration import BINS, calibrate
from codetr.evaluation.analysis.explain import Analysis
from codetr.evaluation.metrics.matching import IOU_THRESHOLDS
from codetr.evaluation.metrics.metric_spec import IOU50, IOU75
from codetr.evaluation.metrics.precision_recall import RECALL_THRESHOLDS
from codetr.evaluation.metrics.summary import Metrics
from codetr.visual.drawing import class_colour, elide
from codetr.visual.fonts import REGULAR, drawable
from codetr.visual.plotting import INK, MOST_BARS, SOFT, name_ticks, save, show_literally, style_axes

_TP, _FP = "#2a9d5c", "#d64545"
_IOU_COLOURS = {IOU50: "#2667c9", IOU75: "#7a4fd0"}
_MAX_CURVES = 10


def plot_precision_recall(metrics: Metrics, path: Path) -> None:
    """Plot precision over recall: the mean over classes at several IoU thresholds, and every class at IoU 0.50."""
    figure = Figure(figsize=(11, 5.4), layout="constrained")
    mean_axes, class_axes = figure.subplots(1, 2)
    present = [k for k, entry in enumerate(metrics.classes) if entry.AP is not None]
    if present:
        curves = metrics.precision[:, :, present]
        for t, colour in _IOU_COLOURS.items():
            label = f"IoU {IOU_THRESHOLDS[t]:.2f}: AP {curves[t].mean():.3f}"
            mean_axes.plot(RECALL_THRESHOLDS, curves[t].mean(axis=-1), color=colour, lw=2, label=label)
        label = f"mean over IoU 0.50 to 0.95: AP {curves.mean():.3f}"
        mean_axes.plot(RECALL_THRESHOLDS, curves.mean(axis=(0, 2)), color=INK, lw=2.5, label=label)
        _legend_below(mean_axes)
    _style(mean_axes, "Mean over classes", "recall", "precision")

    many = len(present) > _MAX_CURVES
    for k in present:
        entry, curve = metrics.classes[k], metrics.precision[IOU50, :, k]
        if many:
            class_axes.plot(RECALL_THRESHOLDS, curve, color=SOFT, lw=0.7, alpha=0.5)
        else:
            label = f"{drawable(elide(entry.name, 24), default=REGULAR)}: AP50 {entry.AP50:.3f}"
            class_axes.plot(RECALL_THRESHOLDS, curve, color=_rgb(k), lw=1.8, label=f"\u200b{label}")
    if many:
        curve = metrics.precision[IOU50][:, present].mean(axis=-1)
        class_axes.plot(RECALL_THRESHOLDS, curve, color=_IOU_COLOURS[IOU50], lw=2.5, label="mean over classes")
    if present:
        show_literally(_legend_below(class_axes, columns=2).get_texts())
    _style(class_axes, f"{counted(len(present), 'class')} at IoU 0.50", "recall", "precision")
    _save(figure, path)


def plot_curves_of_both(
    before: list[dict[str, float | None]], after: list[dict[str, float | None]], names: tuple[str, str], path: Path
) -> None:
    """Plot precision over recall of two models, mean over classes.

    Args:
        before: points of the first, as `pr_curve.json` has them.
        after: points of the second.
        names: of the models.
        path: of the PNG file.
    """
    figure = Figure(figsize=(11, 4.6), layout="constrained")
    panels = (("precision", "Mean over IoU 0.50 to 0.95"), ("precision50", "IoU 0.50"))
    for axes, (field, title) in zip(figure.subplots(1, 2), panels, strict=True):
        styles = ((before, names[0], SOFT, "--"), (after, names[1], _IOU_COLOURS[IOU50], "-"))
        for points, name, colour, line in styles:
            values = [point.get(field) for point in points]
            if values and None not in values:
                mean = sum(value or 0.0 for value in values) / len(values)
                recall = [point["recall"] or 0.0 for point in points]
                axes.plot(recall, values, color=colour, lw=2, ls=line, label=f"{name}: AP {mean:.4f}")
        if axes.lines:
            _legend_below(axes, columns=2)
        _style(axes, title, "recall", "precision")
    _save(figure, path)


def plot_classes(metrics: Metrics, path: Path) -> None:
    """Plot a bar of AP and one of AP50 for every class; of many classes only the best and the worst."""
    ranked = sorted(
        (entry for entry in metrics.classes if entry.AP is not None), key=lambda entry: (-(entry.AP or 0), entry.name)
    )
    half = MOST_BARS // 2
    left_out = max(0, len(ranked) - 2 * half)
    shown = ranked if not left_out else [*ranked[:half], *ranked[-half:]]
    figure = Figure(figsize=(11, 1.7 + 0.27 * max(len(shown), 3)), layout="constrained")
    axes = figure.subplots()
    # A gap replaces the classes left out.
    rows = [row + (1.5 if left_out and row >= half else 0) for row in range(len(shown))]
    axes.barh(rows, [entry.AP50 or 0 for entry in shown], height=0.72, color="#cfdcf2", label="AP50")
    axes.barh(rows, [entry.AP or 0 for entry in shown], height=0.72, color=_IOU_COLOURS[IOU50], label="AP")
    for row, entry in zip(rows, shown, strict=True):
        numbers = f"AP {entry.AP:.3f}, {counted(entry.ground_truths, 'object')}"
        axes.text(1.012, row, numbers, va="center", fontsize=8, color=INK)
    if left_out:
        axes.text(0.008, half + 0.25, f"… {left_out} more classes …", va="center", fontsize=8, color=SOFT)
    name_ticks(axes.yaxis, rows, [entry.name for entry in shown], fontsize=8)
    axes.set_ylim(max(rows, default=0) + 0.7, -0.7)
    _style(axes, "AP by class", "", "")
    axes.set_xticks(np.linspace(0, 1, 6))
    axes.grid(False, axis="y")
    if shown:
        axes.legend(reverse=True, loc="lower right", bbox_to_anchor=(1, 1), ncols=2, frameon=False, fontsize=9)
    _save(figure, path)


def plot_calibration(metrics: Metrics, path: Path) -> None:
    """Plot precision, recall and F1 over the score threshold, and the reliability diagram: precision by score."""
    matches = metrics.matches
    figure = Figure(figsize=(11, 4.8), layout="constrained")
    threshold_axes, score_axes = figure.subplots(1, 2)

    objects = int(matches.gt_group_count.sum())
    levels = np.linspace(0, 1, 201)
    tp = _at_least(matches.score[matches.tp[IOU50]], levels)
    fp = _at_least(matches.score[matches.fp[IOU50]], levels)
    if objects and tp[0] + fp[0]:
        with np.errstate(invalid="ignore"):
            threshold_axes.plot(levels, tp / (tp + fp), color=_IOU_COLOURS[IOU50], lw=2, label="precision")
        threshold_axes.plot(levels, tp / objects, color=_TP, lw=2, label="recall")
        threshold_axes.plot(levels, 2 * tp / (tp + fp + objects), color=INK, lw=2.5, label="F1")
        point = metrics.operating_point
        threshold_axes.axvline(point.score, color=SOFT, lw=1, ls="--")
        label = f"best F1: {point.f1:.3f}\nat score {point.score:.3f}"
        right_side = point.score < 0.75
        threshold_axes.annotate(
            label,
            (point.score, 0.04),
            xytext=(6 if right_side else -6, 0),
            textcoords="offset points",
            ha="left" if right_side else "right",
            fontsize=9,
            color=INK,
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 1.5},
        )
        _legend_below(threshold_axes, columns=3)
    _style(threshold_axes, "Score threshold (IoU 0.50)", "score threshold", "")

    calibration = calibrate(matches)
    filled = calibration.count > 0
    centres, precision = ((np.arange(BINS) + 0.5) / BINS)[filled], calibration.precision[filled]
    score_axes.plot([0, 1], [0, 1], color=SOFT, lw=1, ls="--", label="perfect calibration")
    width = 0.88 / BINS
    score_axes.bar(centres, precision, width=width, color=_TP, label="true positives")
    score_axes.bar(
        centres, 1 - precision, bottom=precision, width=width, color=_FP, alpha=0.25, label="false positives"
    )
    for centre, count in zip(centres, calibration.count[filled], strict=True):
        score_axes.text(centre, 1.015, _short(int(count)), ha="center", fontsize=6.5, color=INK)
    _legend_below(score_axes, columns=3)
    _style(score_axes, "Calibration (number of detections above)", "score", "precision")
    score_axes.set_title(
        score_axes.get_title(loc="left"), loc="left", fontsize=11, fontweight="bold", color=INK, pad=14
    )
    _save(figure, path)


def plot_confusion(analysis: Analysis, path: Path) -> bool:
    """Plot the confusion matrix as shares of the objects of each row; of many classes the most confused.

    Returns:
        Whether there is anything to draw: at least two classes, and of many at least one that is confused.
    """
    labels = analysis.confusion.most_confused(MOST_BARS)
    if len(labels) < 2:
        return False
    table = analysis.confusion.matrix(labels)
    # There is no number of background objects: its row is of the detections of each class.
    whole = np.array([analysis.metrics.classes[k].ground_truths for k in labels.tolist()] + [table[-1].sum()])
    shares = table / np.maximum(whole, 1)[:, None]
    side = min(3.2 + 0.34 * len(labels), 11)
    figure = Figure(figsize=(11, side), layout="constrained")
    axes = figure.subplots()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto" if len(labels) < 12 else "equal")
    names = [*(analysis.metrics.classes[k].name for k in labels.tolist()), "background"]
    name_ticks(axes.xaxis, range(len(names)), names, rotation=90 if len(labels) > 6 else 0, fontsize=8)
    name_ticks(axes.yaxis, range(len(names)), names, fontsize=8)
    if len(labels) <= 20:
        for row, column in zip(*np.nonzero(table), strict=True):
            colour = "white" if shares[row, column] > 0.55 else INK
            count = str(table[row, column]) if table[row, column] < 10_000 else _short(int(table[row, column]))
            axes.text(column, row, count, ha="center", va="center", fontsize=8, color=colour)
    style_axes(axes, "Confusion matrix", "detected class", "annotated class")
    axes.grid(False)
    _save(figure, path)
    return True


def _at_least(scores: NDArray[np.float64], levels: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the number of scores not below each level, (levels,)."""
    return len(scores) - np.searchsorted(np.sort(scores), levels, side="left")


def _short(count: int) -> str:
    return str(count) if count < 1000 else f"{count / 1000:.0f}k" if count < 10**6 else f"{count / 10**6:.0f}M"


def _rgb(label: int) -> tuple[float, float, float]:
    red, green, blue = class_colour(label)
    return red / 255, green / 255, blue / 255


def _style(axes: Axes, title: str, x: str, y: str) -> None:
    style_axes(axes, title, x, y)
    axes.set_xlim(0, 1)
    if not axes.yaxis_inverted():
        axes.set_ylim(0, 1)
        for line in axes.lines:
            line.set_clip_on(False)  # half of a line at 1 would be cut off


def _legend_below(axes: Axes, *, columns: int = 1) -> Legend:
    """Add a legend below the axes, where it covers no curve."""
    return axes.legend(
        loc="upper left", bbox_to_anchor=(-0.02, -0.14), ncols=columns, frameon=False, fontsize=9, columnspacing=1.2
    )


def _save(figure: Figure, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    save(figure, path)
