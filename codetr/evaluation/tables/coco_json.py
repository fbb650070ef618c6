"""Annotation and result files in COCO format: reading what may be broken, with errors that name entry and field."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np

from codetr.core.errors import UserError, listed
from codetr.core.files import atomic_file, read_json
from codetr.data.lvis import FREQUENCIES, NEGATIVE, NOT_EXHAUSTIVE
from codetr.data.segmentation import BadSegmentationError, check_segmentation
from codetr.evaluation.tables.ground_truth import GroundTruth, is_federated
from codetr.evaluation.tables.predictions import Predictions

_SHOWN = 5
_ROWS = 1 << 14
_REACH = 1e100
"""Of coordinates; the area of a box beyond it may be infinite, and what it overlaps no number."""


def read_ground_truth(path: Path) -> dict[str, Any]:
    """Read a COCO annotation file as it stands, to be measured against.

    Unlike `codetr prepare`, which repairs, drops and reports, this takes a file that is sound or refuses it.

    Raises:
        UserError: not an object with images, annotations and categories, or entries without the fields that the
            metrics need. Lists the first of them.
    """
    values = read_json(path)
    lists = ("images", "annotations", "categories")
    if not isinstance(values, dict) or not all(isinstance(values.get(name), list) for name in lists):
        hint = "A COCO annotation file is an object with the lists images, annotations and categories."
        raise UserError("is not a COCO annotation file", where=str(path), hint=hint)
    problems = []
    for name in lists:
        for number, entry in enumerate(values[name]):
            if not isinstance(entry, dict) or not _is_id(entry.get("id", 0 if name == "annotations" else None)):
                problems.append(f"{name}[{number}]: is no object with an integer id")
            elif name == "categories" and not isinstance(entry.get("name"), str):
                problems.append(f"{name}[{number}].name: is missing")
            elif name == "annotations":
                problems.extend(f"{name}[{number}].{problem}" for problem in _object_problems(entry))
            elif name == "images":
                problems.extend(f"{name}[{number}].{problem}" for problem in _verified_problems(entry))
    if not problems and is_federated(values):
        problems = [
            f"categories[{number}].frequency: {_shown(entry['frequency'])} is not r, c or f"
            for number, entry in enumerate(values["categories"])
            if entry.get("frequency", "f") not in tuple(FREQUENCIES)
        ]
    if problems:
        raise UserError(listed(problems, _SHOWN, "; "), where=str(path))
    return values


def _object_problems(annotation: dict[str, Any]) -> list[str]:
    """What keeps an annotation from being measured against, as `field: problem` texts."""
    problems = [
        f"{field}: {_shown(annotation.get(field))} is not an integer"
        for field in ("image_id", "category_id")
        if not _is_id(annotation.get(field))
    ]
    box = annotation.get("bbox")
    if not _is_box(box):
        problems.append(f"bbox: {_shown(box)} is not a list of four numbers below {_REACH:g}")
    if "area" in annotation and not _is_number(annotation["area"]):
        problems.append(f"area: {_shown(annotation['area'])} is not a number")
    if annotation.get("iscrowd", 0) not in (0, 1):
        problems.append(f"iscrowd: {_shown(annotation['iscrowd'])} is not 0 or 1")
    return problems


def _verified_problems(image: dict[str, Any]) -> list[str]:
    """What is wrong with LVIS's lists of an image."""
    return [
        f"{field}: {_shown(image[field])} is not a list of integers"
        for field in (NEGATIVE, NOT_EXHAUSTIVE)
        if field in image and not (isinstance(image[field], list) and all(map(_is_id, image[field])))
    ]


def read_predictions(path: Path, ground_truth: dict[str, Any]) -> list[dict[str, Any]]:
    """Read a COCO result file that belongs to a ground truth.

    Ids written as whole floats (`1.0`) become integers; everything else is taken as it stands. An empty list is a
    result: a detector that found nothing.

    Args:
        path: JSON list of `{image_id, category_id, bbox [x, y, w, h] pixels, score in [0, 1]}`, with a mask as
            `segmentation` {size [height, width], counts} beside the box or instead of it, in all entries alike, and a
            `mask_score` in [0, 1] if masks have scores of their own.
        ground_truth: COCO annotations; every prediction must be of one of its images and categories.

    Raises:
        UserError: not a list, or entries with missing fields, unknown ids, boxes that are not four numbers
            or have negative sizes, masks of another form, scores that are not numbers in [0, 1]. Lists the first of
            them.
    """
    values = read_json(path)
    if not isinstance(values, list):
        problem = f"holds a {type(values).__name__}, expected a list"
        hint = "A COCO result file is a list of objects with image_id, category_id, bbox and score."
        if isinstance(values, dict) and {"recipe", "classes", "threshold"} <= values.keys():
            problem = "is of `codetr predict`, which knows files and classes, not the ids of an annotation file"
            hint = (
                "`codetr prepare` the annotations and `codetr evaluate` the model; its predictions.json can be scored."
            )
        elif isinstance(values, dict) and "annotations" in values:
            problem = "is an annotation file, expected a list of results"
        raise UserError(problem, where=str(path), hint=hint)
    image_ids = {entry["id"] for entry in ground_truth["images"]}
    category_ids = {entry["id"] for entry in ground_truth["categories"]}
    predictions, problems = [], []
    for number, value in enumerate(values):
        if not isinstance(value, dict):
            problems.append(f"[{number}]: is a {type(value).__name__}, expected an object")
            continue
        found = _problems(value, image_ids, category_ids)
        problems.extend(f"[{number}].{problem}" for problem in found)
        if not found:
            ids = {"image_id": int(value["image_id"]), "category_id": int(value["category_id"])}
            predictions.append({**value, **ids})
    if predictions and len({"bbox" in entry for entry in predictions}) > 1:
        problems.append("some entries have a bbox and others have none")
    if problems:
        raise UserError(listed(problems, _SHOWN, "; "), where=str(path))
    return predictions


def write_predictions(path: Path, predictions: Predictions, truth: GroundTruth) -> None:
    """Write predictions as a COCO result file, a few at a time, atomically."""
    with atomic_file(path) as temporary, temporary.open("w", encoding="utf-8") as stream:
        stream.write("[")
        for start in range(0, len(predictions), _ROWS):
            rows = np.arange(start, min(start + _ROWS, len(predictions)))
            entries = json.dumps(predictions.to_coco(truth, rows), allow_nan=False)
            stream.write((", " if start else "") + entries[1:-1])
        stream.write("]\n")


def check_masks(
    ground_truth: dict[str, Any],
    predictions: list[dict[str, Any]],
    *,
    truth_file: str = "annotations",
    results_file: str = "results",
) -> None:
    """Check every mask before pycocotools' C code sees it, which trusts lengths and sizes and would write past them.

    Args:
        ground_truth: COCO annotations; their images need height and width.
        predictions: COCO results.
        truth_file: what to call the first in errors.
        results_file: what to call the second.

    Raises:
        UserError: images without a size, or masks that are missing or do not fit theirs. Lists the first of them.
    """
    sizes: dict[int, tuple[int, int]] = {}
    problems = []
    for number, image in enumerate(ground_truth["images"]):
        size = image.get("height"), image.get("width")
        if all(type(side) is int and side > 0 for side in size):
            sizes[image["id"]] = size
        else:
            problems.append(f"images[{number}]: has no height and width, which masks need")
    problems += _mask_problems("annotations", ground_truth["annotations"], sizes)
    for where, found in ((truth_file, problems), (results_file, _mask_problems("", predictions, sizes))):
        if found:
            raise UserError(listed(found, _SHOWN, "; "), where=where)


def _mask_problems(name: str, entries: list[dict[str, Any]], sizes: dict[int, tuple[int, int]]) -> list[str]:
    """What is wrong with the masks of a list of the file; entries of images without a size are left out."""
    problems = []
    for number, entry in enumerate(entries):
        if entry["image_id"] not in sizes:
            continue
        problem = None
        try:
            checked = check_segmentation(entry.get("segmentation"), *sizes[entry["image_id"]])
        except BadSegmentationError as error:
            problem = str(error)
        else:
            if checked is None:
                problem = "is empty" if "segmentation" in entry else "is missing"
            elif checked.dropped_parts:
                problem = "a polygon has fewer than three points"
        if problem is not None:
            problems.append(f"{name}[{number}].segmentation: {problem}")
    return problems


def _problems(entry: dict[str, Any], image_ids: set[int], category_ids: set[int]) -> list[str]:
    """What is wrong with one entry, as `field: problem` texts."""
    problems = []
    for field, known, what in (
        ("image_id", image_ids, "image"),
        ("category_id", category_ids, "category"),
    ):
        if field not in entry:
            problems.append(f"{field}: is missing")
        elif not _is_number(entry[field]) or entry[field] != int(entry[field]):
            problems.append(f"{field}: {_shown(entry[field])} is not an integer")
        elif int(entry[field]) not in known:
            problems.append(f"{field}: {_shown(entry[field])} is no {what} of the ground truth")
    score = entry.get("score")
    if "score" not in entry:
        problems.append("score: is missing")
    elif not _is_number(score) or not 0 <= score <= 1:
        problems.append(f"score: {_shown(score)} is not a number in [0, 1]")
    if "mask_score" in entry and not (_is_number(entry["mask_score"]) and 0 <= entry["mask_score"] <= 1):
        problems.append(f"mask_score: {_shown(entry['mask_score'])} is not a number in [0, 1]")
    if "bbox" in entry:
        box = entry["bbox"]
        if not _is_box(box):
            problems.append(f"bbox: {_shown(box)} is not a list of four numbers below {_REACH:g}")
        elif box[2] < 0 or box[3] < 0:
            problems.append(f"bbox: {_shown(box)} has a negative width or height (boxes are [x, y, width, height])")
    elif "segmentation" not in entry:
        problems.append("bbox: is missing")
    if "segmentation" in entry and not _is_mask(entry["segmentation"]):
        problems.append(
            f"segmentation: {_shown(entry['segmentation'])} is no compressed run-length code {{size, counts}}"
        )
    return problems


def _is_number(value: object) -> TypeGuard[float]:
    # NaN compares false, and an integer too large for a float is as useless as infinity.
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def _is_box(value: object) -> bool:
    return (
        isinstance(value, list) and len(value) == 4 and all(_is_number(side) and abs(side) < _REACH for side in value)
    )


def _is_mask(value: object) -> bool:
    if not isinstance(value, dict) or not isinstance(value.get("counts"), str):
        return False
    size = value.get("size")
    return isinstance(size, list) and len(size) == 2 and all(type(side) is int and side > 0 for side in size)


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _is_id(value: Any) -> bool:
    """Whether it is an integer that fits into 64 bits with room to count on."""
    return type(value) is int and abs(value) < 1 << 62
