"""Annotation and result files drawn by hypothesis: sound ones of every form, and sound ones that were then damaged."""

from __future__ import annotations

import copy
import json
from typing import Any

import numpy as np
from hypothesis import strategies as st

from codetr.data.segmentation import encode_mask
from tests.support.evaluation.drawn_predictions import Pair, segmentation

HEIGHT, WIDTH = 40, 60
_IDS = st.sampled_from([-7, 0, 1, 2, 3, 10, 999, 1 << 40, (1 << 62) - 1])
_AREAS = st.sampled_from([0, 0.5, 1, 1023.5, 1024, 1024.0, 9216, 9217, 1e5, 1e10, 2e10])
_SCORES = st.sampled_from([0, 1, 0.5, 0.5, 0.25, 1e-300, 0.1 + 0.2])
_FORMS = st.sampled_from(["polygons", "code", "runs"])


@st.composite
def box(draw: st.DrawFn, *, inside: bool) -> list[float]:
    """Of any size, none included; within the image where a mask is made of it."""
    corner, side = st.sampled_from([0, 0.0, 4, 8, 10.5]), st.sampled_from([0, 1, 8, 16, 24.0, 24.5])
    if not inside:
        corner, side = corner | st.sampled_from([-8.25, -3, 1e6]), side | st.sampled_from([32, 96, 100, 1e5])
    return [draw(corner), draw(corner), draw(side), draw(side)]


def mask(form: str, values: list[float]) -> Any:
    """The pixels of a box, in one of the forms that COCO knows."""
    if form == "polygons":
        return segmentation(values)
    x, y, width, height = (int(value) for value in values)
    pixels = np.zeros((HEIGHT, WIDTH), bool)
    pixels[y : y + height, x : x + width] = True
    if form == "code":
        return encode_mask(pixels)
    flat = pixels.T.ravel()
    changes = np.flatnonzero(np.diff(flat, prepend=False))
    return {"size": [HEIGHT, WIDTH], "counts": np.diff([0, *changes, flat.size]).tolist()}


@st.composite
def thing(draw: st.DrawFn, masks: bool) -> dict[str, Any]:
    """An annotation but for its ids."""
    values = draw(box(inside=masks))
    entry: dict[str, Any] = {"bbox": values, "area": values[2] * values[3]}
    entry["ignore"], entry["iscrowd"] = (int(draw(st.integers(0, 4)) == 0) for _ in range(2))
    if draw(st.booleans()):
        entry["area"] = draw(_AREAS)
    for field in ("area", "iscrowd", "ignore"):
        if draw(st.integers(0, 4)) == 0:
            del entry[field]
    return {**entry, "segmentation": mask(draw(_FORMS), values)} if masks else entry


@st.composite
def sound_files(draw: st.DrawFn, *, federated: bool = False, masks: bool = False) -> Pair:
    """Ids with gaps and in any order, fields that may be missing, entries of no image or class, many detections.

    Left out is what the reference programs are known to fail on: annotation ids that are 0 or repeated, and
    results that are empty.
    """
    image_ids, category_ids = (draw(st.lists(_IDS, min_size=1, max_size=3, unique=True)) for _ in range(2))
    images: list[dict[str, Any]] = [{"id": key, "height": HEIGHT, "width": WIDTH} for key in image_ids]
    categories: list[dict[str, Any]] = [{"id": key, "name": draw(st.sampled_from("aé "))} for key in category_ids]
    if federated:
        listed = st.lists(st.sampled_from([*category_ids, 77]), max_size=2)
        for image in images:
            image |= {"neg_category_ids": draw(listed), "not_exhaustive_category_ids": draw(listed)}
        for category in categories:
            category["frequency"] = draw(st.sampled_from("rcf"))
    foreign = [] if federated else [55]  # of which the package lvis does not know what to make
    image_of, category_of = (st.sampled_from([*ids, *ids, *foreign]) for ids in (image_ids, category_ids))
    keys = draw(st.lists(_IDS.filter(bool), max_size=6, unique=True))
    annotations = [
        {"id": key, "image_id": draw(image_of), "category_id": draw(category_of), **draw(thing(masks))} for key in keys
    ]
    boxed = not masks or draw(st.booleans())
    results = []
    for _ in range(draw(st.integers(1, 8))):
        values = draw(box(inside=masks))
        if bool(annotations) and draw(st.integers(0, 3)):
            values = draw(st.sampled_from(annotations))["bbox"]
        result: dict[str, Any] = {"image_id": draw(st.sampled_from(image_ids)), "score": draw(_SCORES)}
        result["category_id"] = draw(st.sampled_from(category_ids))
        if boxed:
            result["bbox"] = values
        if masks:
            result["segmentation"] = mask("code", values)
        results.append(result)
    if draw(st.integers(0, 5)) == 0:  # more than count of one class in one image
        results = [*results, *({**results[0], "score": draw(_SCORES)} for _ in range(101)), *results]
    return {"images": images, "categories": categories, "annotations": annotations}, results


DEEP = "nested deeply"
"""Stands for more lists within lists than can be parsed."""
_NUMBERS = st.sampled_from(
    [
        *(True, False, 0, -1, 1, 2, 0.5, 1.0, 1e6, 1e155, -1e155, 1.7e308, 5e-324, -0.0),
        *(float("nan"), float("inf"), -float("inf"), 1 << 31, 1 << 32, 1 << 62, 1 << 63, 10**30, 10**400),
    ]
)
_SEGMENTATIONS = st.sampled_from(
    [
        *([], [[]], [[1, 2, 3, 4]], [[1, 2, 3, 4, 5]], [[1, 2, 3, 4, 5, 6], []], [[-1e6, 1, 2, 3, 4, 1e6]]),
        *([[float("nan"), 1, 2, 3, 4, 5]], [[1e300, 1, 2, 3, 4, 5]], [[0, 0, 0, 0, 0, 0]], [{"size": [40, 60]}]),
        *({"size": [HEIGHT, WIDTH], "counts": "0"}, {"size": [float(HEIGHT), WIDTH], "counts": [HEIGHT * WIDTH]}),
        *({"size": [1, 1], "counts": [2]}, {"size": [HEIGHT, WIDTH], "counts": [True, HEIGHT * WIDTH - 1]}),
        *({"size": [HEIGHT, WIDTH], "counts": [1 << 33, HEIGHT * WIDTH - (1 << 33)]}, {"size": [0, 0], "counts": ""}),
        *(
            {"size": [HEIGHT, WIDTH], "counts": [0] * 9 + [HEIGHT * WIDTH]},
            {"size": [HEIGHT, WIDTH], "counts": "\ud800"},
        ),
    ]
)
_ANYTHING = (
    _NUMBERS
    | _SEGMENTATIONS
    | st.sampled_from([None, "", "0", "1", "a", "\x00", "\ud800", "0" * 40, {}, [0], [1, 2, 3], {"id": 1}, DEEP])
)


@st.composite
def damaged(draw: st.DrawFn, value: Any) -> Any:
    """A copy with one to three faults: something left out, replaced, repeated, or put into a list."""
    root = {"root": copy.deepcopy(value)}
    for _ in range(draw(st.sampled_from([1, 1, 1, 2, 3]))):
        locations = _locations(root)
        # First the depth, or most faults would be in single coordinates; entries and their fields more than the file.
        levels = sorted({depth for _, _, depth in locations})
        level = draw(st.sampled_from([depth for depth in levels for _ in range(1 + 4 * (depth >= len(levels) // 2))]))
        holder, key, _ = draw(st.sampled_from([entry for entry in locations if entry[2] == level]))
        match draw(st.sampled_from(["replace", "replace", "replace", "remove", "repeat", "wrap"])):
            case "replace":
                like = _NUMBERS if isinstance(holder[key], int | float) and draw(st.integers(0, 3)) else _ANYTHING
                like = _SEGMENTATIONS if key == "segmentation" and draw(st.integers(0, 3)) else like
                holder[key] = copy.deepcopy(draw(like))
            case "remove" if holder is not root:
                del holder[key]
            case "repeat" if isinstance(holder, list):
                holder.append(copy.deepcopy(holder[key]))
            case _:
                holder[key] = [holder[key]]
    return root["root"]


def _locations(holder: Any, depth: int = 0) -> list[tuple[Any, Any, int]]:
    keys = list(holder) if isinstance(holder, dict) else range(len(holder)) if isinstance(holder, list) else ()
    found = []
    for key in keys:
        found.append((holder, key, depth))
        found.extend(_locations(holder[key], depth + 1))
    return found


def text(value: Any) -> str:
    return json.dumps(value).replace(json.dumps(DEEP), "[" * 100_000 + "]" * 100_000)
