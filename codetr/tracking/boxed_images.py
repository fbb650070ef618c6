"""Images with boxes for W&B, in layers that the viewer can show and hide."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class TrackedBox:
    """One box: xyxy in pixels of the image, the class's index, and a score in [0, 1], None for ground truth."""

    xyxy: tuple[float, float, float, float]
    label: int
    score: float | None = None


@dataclass(frozen=True)
class BoxedImage:
    """An image with layers of boxes that the viewer can show and hide.

    Attributes:
        pixels: (height, width, 3) uint8 RGB, or the path of an image file.
        class_names: name of every class index.
        layers: boxes by the layer's name, e.g. {"predictions": [...], "truth": [...]}.
        caption: text below the image.
    """

    pixels: np.ndarray | Path
    class_names: Sequence[str]
    layers: Mapping[str, Sequence[TrackedBox]] = field(default_factory=dict)
    caption: str | None = None


def wandb_image(picture: BoxedImage) -> Any:
    """Convert an image to a `wandb.Image`."""
    import wandb

    names = dict(enumerate(picture.class_names))
    layers = {
        layer: {"box_data": [_wandb_box(box, names) for box in boxes], "class_labels": names}
        for layer, boxes in picture.layers.items()
    }
    pixels = str(picture.pixels) if isinstance(picture.pixels, Path) else picture.pixels
    return wandb.Image(pixels, boxes=layers or None, caption=picture.caption)


def _wandb_box(box: TrackedBox, names: Mapping[int, str]) -> dict[str, Any]:
    x1, y1, x2, y2 = (float(value) for value in box.xyxy)
    caption = names[box.label] if box.score is None else f"{names[box.label]} {box.score:.2f}"
    value: dict[str, Any] = {
        "position": {"minX": x1, "minY": y1, "maxX": x2, "maxY": y2},
        "domain": "pixel",
        "class_id": int(box.label),
        "box_caption": caption,
    }
    if box.score is not None:
        value["scores"] = {"score": float(box.score)}
    return value
