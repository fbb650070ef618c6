"""Draw the distribution of objects over classes, sizes and images."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from numpy.typing import NDArray

from codetr.data.config import PreprocessConfig
from codetr.data.dataset.split import Split
from codetr.data.validation.class_statistics import RARE, ClassStatistics
from codetr.doctor.box_checks import MIN_INPUT_AREA
from codetr.doctor.examination import input_scales
from codetr.visual.plotting import INK, MOST_BARS, SOFT, name_ticks, save, style_axes

_COLOURS = ("#2667c9", "#e08a1e", "#7a4fd0")


def draw_classes(classes: Sequence[ClassStatistics]) -> bytes:
    """Return a PNG of the objects of every class on a logarithmic axis: bars, or for many classes a curve by rank."""
    splits = list(classes[0].objects)
    ordered = sorted(classes, key=lambda entry: (-entry.objects["train"], entry.name))
    if len(ordered) > MOST_BARS:
        figure = Figure(figsize=(11, 4.2), layout="constrained")
        axes = figure.subplots()
        for number, split in enumerate(splits):
            counts = np.array([entry.objects[split] for entry in ordered], float)
            counts[counts == 0] = np.nan
            style = {"lw": 2.2} if number == 0 else {"lw": 0, "marker": ".", "ms": 3}
            axes.plot(np.arange(1, len(ordered) + 1), counts, color=_COLOURS[number], label=split, **style)
        axes.axhline(RARE, color=SOFT, lw=1, ls="--")
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(_plain)
        axes.set_xlim(0, len(ordered) + 1)
        style_axes(
            axes,
            f"Objects per class, {len(ordered)} classes (dashed line: {RARE} objects)",
            "class, by rank in train",
            "",
        )
    else:
        figure = Figure(figsize=(11, 1.2 + 0.28 * max(len(ordered), 3)), layout="constrained")
        axes = figure.subplots()
        height = 0.8 / len(splits)
        for number, split in enumerate(splits):
            rows = np.arange(len(ordered)) + (number - (len(splits) - 1) / 2) * height
            lengths = [entry.objects[split] for entry in ordered]
            axes.barh(rows, lengths, height=height * 0.9, color=_COLOURS[number], label=split)
        axes.axvline(RARE, color=SOFT, lw=1, ls="--")
        axes.set_xscale("symlog", linthresh=1)
        axes.xaxis.set_major_formatter(_plain)
        name_ticks(axes.yaxis, range(len(ordered)), [entry.name for entry in ordered], fontsize=9)
        axes.set_ylim(len(ordered) - 0.4, -0.6)
        style_axes(axes, f"Objects per class (dashed line: {RARE} objects)", "", "")
        axes.grid(False, axis="y")
    _legend(axes, splits)
    return _png(figure)


def draw_sizes(splits: Mapping[str, Split], preprocess: PreprocessConfig) -> bytes:
    """Return a PNG of four charts: object sizes at input resolution and relative, image sizes, objects per image."""
    figure = Figure(figsize=(11, 7.6), layout=ConstrainedLayoutEngine(h_pad=0.12))
    (at_input, relative), (image_sizes, per_image) = figure.subplots(2, 2)
    sides_at_input, shares, counts = {}, {}, {}
    for number, (name, split) in enumerate(splits.items()):
        arrays = split.arrays
        objects_per_image = np.diff(arrays["object_offsets"])
        image = np.repeat(np.arange(len(split)), objects_per_image)
        shown = ~np.asarray(arrays["iscrowd"])
        sides = np.sqrt(np.asarray(arrays["boxes_xywh"])[:, 2:].prod(axis=1))
        sides_at_input[name] = (sides * input_scales(split.sizes, preprocess)[image])[shown]
        shares[name] = (sides / np.sqrt(split.sizes.astype(float).prod(axis=1))[image])[shown]
        counts[name] = objects_per_image
        sizes, repeated = np.unique(split.sizes, axis=0, return_counts=True)
        height, width = sizes.T
        areas = 12 + 25 * np.log(repeated)
        image_sizes.scatter(width, height, s=areas, alpha=0.4, lw=0, color=_COLOURS[number], label=name)
    _log_histogram(at_input, sides_at_input, 60)
    at_input.axvline(MIN_INPUT_AREA**0.5, color=INK, lw=1, ls="--")
    style_axes(
        at_input, "Object size at input resolution (dashed line: 8 pixels)", "√(box area) in pixels", "share of objects"
    )
    _log_histogram(relative, shares, 60)
    style_axes(relative, "Object size relative to the image", "√(box area / image area)", "share of objects")
    style_axes(image_sizes, "Image sizes (dot size: number of images)", "width in pixels", "height in pixels")
    image_sizes.set_xlim(left=0)
    image_sizes.set_ylim(bottom=0)
    most = max((int(values.max()) for values in counts.values() if len(values)), default=1)
    bins = np.unique(np.round(np.linspace(0, most + 1, min(most + 2, 60)))) - 0.5
    for number, (name, values) in enumerate(counts.items()):
        _histogram(per_image, values, bins, number, name)
    style_axes(per_image, "Objects per image", "number of objects", "share of images")
    for axes in (at_input, relative, image_sizes, per_image):
        _legend(axes, list(splits))
    return _png(figure)


def _log_histogram(axes: Axes, values: Mapping[str, NDArray[np.float64]], count: int) -> None:
    everything = np.concatenate([*values.values(), [1.0]])
    everything = everything[everything > 0]
    bins = np.geomspace(everything.min(), everything.max() * 1.01, count)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(_plain)
    for number, (name, chosen) in enumerate(values.items()):
        _histogram(axes, chosen, bins, number, name)


def _histogram(axes: Axes, values: NDArray[np.generic], bins: NDArray[np.float64], number: int, name: str) -> None:
    counts, _ = np.histogram(values, bins)
    shares = counts / max(len(values), 1)
    fill = number == 0
    axes.stairs(shares, bins, fill=fill, color=_COLOURS[number], alpha=0.45 if fill else 1, lw=1.8, label=name)


def _plain(value: float, _: float) -> str:
    """Format a tick of a logarithmic axis without powers of ten."""
    return f"{value:,.10g}"


def _legend(axes: Axes, splits: Sequence[str]) -> None:
    if len(splits) > 1:
        for handle in axes.legend(frameon=False, fontsize=9).legend_handles:
            if isinstance(handle, PathCollection):
                handle.set_sizes([40])  # of points, whose first may be small or large


def _png(figure: Figure) -> bytes:
    stream = io.BytesIO()
    save(figure, stream)
    return stream.getvalue()
