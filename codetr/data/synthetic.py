"""Draw a synthetic detection dataset: coloured shapes on textured backgrounds, with exact boxes, masks and areas.

For demonstrations and tests: of any size, the same bytes for the same seed, and easy enough for a small detector to
learn on a CPU in minutes. Classes differ in shape and, loosely, in hue. Objects overlap: the visible part of an
occluded object is annotated as a run-length code, an object in full view as a polygon.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pycocotools import mask as coco_mask

from codetr.core.errors import UserError
from codetr.core.files import atomic_directory, read_json, require_replaceable, write_json
from codetr.core.progress import track
from codetr.data.transforms.resize import resize

ANNOTATIONS = "annotations.json"

Corners = NDArray[np.float64]
"""Polygons around (0, 0), of radius 1: (corners, 2) x, y."""


def _polygon(corners: int, start: float = -math.pi / 2) -> Corners:
    angles = start + 2 * math.pi * np.arange(corners) / corners
    return np.stack([np.cos(angles), np.sin(angles)], 1)


def _star() -> Corners:
    corners = _polygon(10)
    corners[1::2] *= 0.45
    return corners


def _cross() -> Corners:
    arm = 0.38
    quarter = np.array([(arm, -1), (arm, -arm), (1, -arm)])
    turn = np.array([[0, 1], [-1, 0]])  # a quarter turn of row vectors
    return np.concatenate([quarter @ np.linalg.matrix_power(turn, k) for k in range(4)])


SHAPES: dict[str, tuple[Callable[[], Corners], float]] = {
    "circle": (lambda: _polygon(40), 0.0),
    "square": (lambda: _polygon(4, -math.pi / 4), 0.2),
    "triangle": (lambda: _polygon(3), 0.4),
    "star": (_star, 0.6),
    "cross": (_cross, 0.8),
}
"""Class names with their polygon and the centre of their hues, in [0, 1)."""

_HUE_SPREAD = 0.07
_SMALLEST_VISIBLE = 0.4
_EMPTY_IMAGES = 0.04


@dataclass(frozen=True)
class _Object:
    label: int
    polygon: list[float]
    mask: NDArray[np.bool_]


def draw_sample_data(
    output: Path,
    images: int = 500,
    *,
    seed: int = 0,
    val_fraction: float = 0.2,
    sides: tuple[int, int] = (144, 192),
    objects: tuple[int, int] = (1, 6),
) -> dict[str, int]:
    """Draw a dataset and write it as `output/{train,val}/images/*.jpg` and `output/{train,val}/annotations.json`.

    Args:
        output: the folder; an earlier drawn set is replaced.
        images: total number of images, at least 2.
        seed: equal seeds give equal bytes. Every image has a separate random stream: drawing more changes no image.
        val_fraction: share of images in val.
        sides: (smallest, largest) side of an image in pixels.
        objects: (fewest, most) objects tried per image; a few images stay empty.

    Returns:
        Number of images by split.

    Raises:
        UserError: a size that cannot be drawn, or a folder that holds something else.
    """
    if images < 2:
        raise UserError(f"{images} images cannot be divided into train and val", hint="Ask for 2 or more.")
    if not 0 < val_fraction < 1:
        raise UserError(f"val_fraction {val_fraction} must be between 0 and 1")
    if not 32 <= sides[0] <= sides[1]:
        raise UserError(f"sides {sides} must be (smallest, largest), 32 pixels or more")
    if not 1 <= objects[0] <= objects[1]:
        raise UserError(f"objects {objects} must be (fewest, most), 1 or more")
    require_replaceable(output, "drawn set", _names)
    val = min(max(round(images * val_fraction), 1), images - 1)
    # Every n-th image goes to val, so that a larger set of the same seed continues both splits evenly.
    in_val = [int(i * val / images) != int((i + 1) * val / images) for i in range(images)]
    contents: dict[str, dict[str, list[Any]]] = {
        split: {"images": [], "annotations": [], "categories": _categories()} for split in ("train", "val")
    }
    with atomic_directory(output) as folder:
        for split in contents:
            (folder / split / "images").mkdir(parents=True)
        for i in track(range(images), images, "drawing"):
            split = "val" if in_val[i] else "train"
            content = contents[split]
            pixels, drawn = draw_image(np.random.default_rng([seed, i]), sides, objects)
            name = f"{i:06d}.jpg"
            Image.fromarray(pixels).save(folder / split / "images" / name, quality=92)
            height, width = pixels.shape[:2]
            content["images"].append({"id": i + 1, "file_name": name, "height": height, "width": width})
            content["annotations"] += [
                {"id": len(content["annotations"]) + k, "image_id": i + 1, **_annotation(entry, drawn[k:])}
                for k, entry in enumerate(drawn, start=1)
            ]
        for split, content in contents.items():
            write_json(folder / split / ANNOTATIONS, content, indent=None)
    return {split: len(content["images"]) for split, content in contents.items()}


def draw_image(
    random: np.random.Generator, sides: tuple[int, int], objects: tuple[int, int]
) -> tuple[NDArray[np.uint8], list[_Object]]:
    """Draw an image, (height, width, 3) uint8 RGB; return it with its objects from back to front."""
    height, width = (int(side) for side in random.integers(sides[0], sides[1] + 1, 2))
    canvas = _background(random, height, width)
    drawn: list[_Object] = []
    if random.random() < _EMPTY_IMAGES:
        return _to_uint8(canvas), drawn
    for _ in range(int(random.integers(objects[0], objects[1] + 1))):
        label = int(random.integers(len(SHAPES)))
        entry = _draw_object(random, label, height, width)
        hides_another = any(
            _visible(other, [*drawn[k:], entry]) < _SMALLEST_VISIBLE for k, other in enumerate(drawn, start=1)
        )
        if hides_another or entry.mask.sum() < 16:
            continue
        _paint(random, canvas, entry)
        drawn.append(entry)
    return _to_uint8(canvas), drawn


def _names(folder: Path) -> tuple[str, ...] | None:
    """Return the contents of a folder if it is a drawn set; other datasets have train and val too."""
    splits = ("train", "val")
    try:
        contents = [read_json(folder / split / ANNOTATIONS) for split in splits]
    except UserError:
        return None
    drawn = all(isinstance(content, dict) and content.get("categories") == _categories() for content in contents)
    return splits if drawn else None


def _categories() -> list[dict[str, Any]]:
    return [{"id": label + 1, "name": name} for label, name in enumerate(SHAPES)]


def _background(random: np.random.Generator, height: int, width: int) -> NDArray[np.float64]:
    """Draw soft blotches, faint stripes and grain, all in muted colours."""
    grid = int(random.integers(3, 9))
    blotches = resize(random.integers(60, 180, (grid, grid, 3)).astype(np.uint8), height, width).astype(np.float64)
    grey = blotches.mean(2, keepdims=True)
    canvas: NDArray[np.float64] = grey + 0.35 * (blotches - grey)
    angle, period = random.uniform(0, math.pi), random.uniform(4, 24)
    rows, columns = np.mgrid[:height, :width]
    stripes = np.sin(2 * math.pi * (np.cos(angle) * columns + np.sin(angle) * rows) / period)
    canvas += random.uniform(0, 18) * stripes[..., None]
    canvas += random.normal(0, random.uniform(2, 9), (height, width, 1))
    return canvas


def _draw_object(random: np.random.Generator, label: int, height: int, width: int) -> _Object:
    corners = list(SHAPES.values())[label][0]()
    # Uniform in the logarithm, so that small, medium and large objects are about equally many.
    radius = math.exp(random.uniform(math.log(8), math.log(0.32 * min(height, width))))
    angle = random.uniform(-0.4, 0.4)
    rotation = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    stretch = random.uniform(0.8, 1.25, 2)
    # The centre is inside, so that the border truncates some objects.
    centre = np.array([random.uniform(0.05, 0.95) * width, random.uniform(0.05, 0.95) * height])
    points = (corners * stretch) @ rotation * radius + centre
    points = np.round(np.clip(points, 0, [width, height]), 2)
    polygon = points.ravel().tolist()
    mask = coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects([polygon], height, width))).astype(bool)
    return _Object(label, polygon, mask)


def _visible(entry: _Object, in_front: list[_Object]) -> float:
    """Return the share of an object's pixels that no object in front of it covers."""
    return float(_uncovered(entry, in_front).sum() / entry.mask.sum())


def _uncovered(entry: _Object, in_front: list[_Object]) -> NDArray[np.bool_]:
    mask = entry.mask.copy()
    for other in in_front:
        mask &= ~other.mask
    return mask


def _paint(random: np.random.Generator, canvas: NDArray[np.float64], entry: _Object) -> None:
    hue = list(SHAPES.values())[entry.label][1] + random.uniform(-_HUE_SPREAD, _HUE_SPREAD)
    colour = _rgb(hue, random.uniform(0.65, 1.0), random.uniform(0.6, 1.0))
    height, width = entry.mask.shape
    rows, columns = np.mgrid[:height, :width]
    angle, period = random.uniform(0, math.pi), random.uniform(5, 20)
    shade = 1 + random.uniform(0, 0.15) * np.sin(
        2 * math.pi * (np.cos(angle) * columns + np.sin(angle) * rows) / period
    )
    fill = colour * shade[..., None] + random.normal(0, 4, (height, width, 1))
    canvas[entry.mask] = fill[entry.mask]


def _rgb(hue: float, saturation: float, value: float) -> NDArray[np.float64]:
    """Return a colour of the HSV space (hue wraps around at 1) as RGB in 0..255."""
    ramp = np.abs((hue * 6 + np.array([0.0, 4.0, 2.0])) % 6 - 3) - 1
    colour: NDArray[np.float64] = 255 * value * (1 - saturation * (1 - np.clip(ramp, 0, 1)))
    return colour


def _to_uint8(canvas: NDArray[np.float64]) -> NDArray[np.uint8]:
    return np.clip(np.rint(canvas), 0, 255).astype(np.uint8)


def _annotation(entry: _Object, in_front: list[_Object]) -> dict[str, Any]:
    visible = _uncovered(entry, in_front)
    code = coco_mask.encode(np.asfortranarray(visible, np.uint8))
    segmentation: Any
    if (visible == entry.mask).all():
        segmentation = [entry.polygon]
    else:
        segmentation = {"size": list(visible.shape), "counts": code["counts"].decode()}
    return {
        "category_id": entry.label + 1,
        "bbox": [float(number) for number in coco_mask.toBbox(code)],
        "area": int(coco_mask.area(code)),
        "iscrowd": 0,
        "segmentation": segmentation,
    }
