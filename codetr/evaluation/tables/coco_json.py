"""Read annotation and result files in COCO format; errors name the entry and the field."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np

from codetr.core.errors import UserError, listed
from codetr.core.files import atomic_file
from codetr.data.formats.coco import read_coco_json
from codetr.data.lvis import FREQUENCIES, NEGATIVE, NOT_EXHAUSTIVE
from codetr.data.segmentation import BadSegmentationError, check_segmentation
from codetr.data.validation.findings import short
from codetr.data.validation.ids import ListedIds
from codetr.evaluation.tables.ground_truth import GroundTruth, is_federated
from codetr.evaluation.tables.predictions import PredictionTable

ROWS = 1 << 14
"""Results that are written together."""

_ORIGINAL = "original_id"
_SHOWN = 5
_MAX_COORDINATE = 1e100
"""The area of a box beyond it may be infinite, and its IoU not a number."""


def read_ground_truth(path: Path) -> dict[str, Any]:
    """Read a COCO annotation file as ground truth, in every encoding and with every form of ids that `prepare` reads.

    Unlike `codetr prepare`, which repairs, drops and reports entries, this refuses a file with invalid entries. Ids
    that are no integers become the integers that `prepare` assigns; such an entry keeps its id as `original_id`.

    Raises:
        UserError: the file is not an object with images, annotations and categories, or entries lack fields that the
            metrics need. Lists the first of them.
    """
    values = read_coco_json(path)
    lists = ("images", "annotations", "categories")
    if not isinstance(values, dict) or not all(isinstance(values.get(name), list) for name in lists):
        hint = "A COCO annotation file is an object with the lists images, annotations and categories."
        raise UserError("is not a COCO annotation file", where=str(path), hint=hint)
    image_ids, category_ids = _ids(values["images"]), _ids(values["categories"])
    problems = []
    for name, ids in (("images", image_ids), ("categories", category_ids)):
        for number, entry in enumerate(values[name]):
            if not isinstance(entry, dict) or ids.resolve(entry.get("id")) is None:
                problems.append(f"{name}[{number}]: is not an object with an id")
            elif name == "categories" and not isinstance(entry.get("name"), str):
                problems.append(f"{name}[{number}].name: is missing")
            elif name == "images":
                problems.extend(f"{name}[{number}].{problem}" for problem in _verified_problems(entry, category_ids))
    for number, entry in enumerate(values["annotations"]):
        if not isinstance(entry, dict):
            problems.append(f"annotations[{number}]: is not an object")
        else:
            found = _object_problems(entry, image_ids, category_ids)
            problems.extend(f"annotations[{number}].{problem}" for problem in found)
    if not problems and is_federated(values):
        problems = [
            f"categories[{number}].frequency: {short(entry['frequency'])} is not r, c or f"
            for number, entry in enumerate(values["categories"])
            if entry.get("frequency", "f") not in tuple(FREQUENCIES)
        ]
    if problems:
        raise UserError(listed(problems, _SHOWN, "; "), where=str(path))
    return {
        **values,
        "images": [_with_integers(entry, {"id": image_ids}, category_ids) for entry in values["images"]],
        "categories": [_with_integers(entry, {"id": category_ids}, category_ids) for entry in values["categories"]],
        "annotations": [
            _with_integers(entry, {"image_id": image_ids, "category_id": category_ids}, category_ids)
            for entry in values["annotations"]
        ],
    }


def _ids(entries: list[Any]) -> ListedIds:
    """Return the ids of a list, as they are in the file."""
    return ListedIds([entry.get(_ORIGINAL, entry.get("id")) for entry in entries if isinstance(entry, dict)])


def _with_integers(entry: dict[str, Any], fields: dict[str, ListedIds], category_ids: ListedIds) -> dict[str, Any]:
    """Return an entry with integers as ids: the same entry if it has them."""
    changed: dict[str, Any] = {}
    for field, ids in fields.items():
        raw = entry[field]
        if type(raw) is not int or ids.resolve(raw) != raw:
            changed[field] = ids.resolve(raw)
            if field == "id":
                changed[_ORIGINAL] = raw
    for field in (NEGATIVE, NOT_EXHAUSTIVE):
        if any(type(item) is not int for item in entry.get(field) or ()):
            changed[field] = [category_ids.resolve(item) for item in entry[field]]
    return {**entry, **changed} if changed else entry


def _object_problems(annotation: dict[str, Any], image_ids: ListedIds, category_ids: ListedIds) -> list[str]:
    """Return the problems of an annotation as `field: problem` texts."""
    problems = [
        f"{field}: {short(annotation.get(field))} is not an integer, nor an id that the file lists"
        for field, ids in (("image_id", image_ids), ("category_id", category_ids))
        if ids.resolve(annotation.get(field)) is None
    ]
    box = annotation.get("bbox")
    if not _is_box(box):
        problems.append(f"bbox: {short(box)} is not a list of four numbers below {_MAX_COORDINATE:g}")
    if "area" in annotation and not _is_number(annotation["area"]):
        problems.append(f"area: {short(annotation['area'])} is not a number")
    if annotation.get("iscrowd", 0) not in (0, 1):
        problems.append(f"iscrowd: {short(annotation['iscrowd'])} is not 0 or 1")
    return problems


def _verified_problems(image: dict[str, Any], category_ids: ListedIds) -> list[str]:
    """Return the problems of LVIS's lists of an image as `field: problem` texts."""
    return [
        f"{field}: {short(image[field])} is not a list of ids"
        for field in (NEGATIVE, NOT_EXHAUSTIVE)
        if field in image
        and not (
            isinstance(image[field], list) and all(category_ids.resolve(item) is not None for item in image[field])
        )
    ]


def read_predictions(path: Path, ground_truth: dict[str, Any]) -> list[dict[str, Any]]:
    """Read a COCO result file that belongs to a ground truth.

    Ids become the integers of the ground truth, see `read_ground_truth`; everything else stays as it is. An empty list
    is valid: a detector that detected nothing.

    Args:
        path: JSON list of `{image_id, category_id, bbox [x, y, w, h] pixels, score in [0, 1]}`, with a mask as
            `segmentation` {size [height, width], counts} in addition to the box or instead of it, the same in all
            entries, and a `mask_score` in [0, 1] if masks have separate scores.
        ground_truth: COCO annotations; every prediction must belong to one of their images and categories.

    Raises:
        UserError: the file is not a list, or entries have missing fields, unknown ids, boxes that are not four numbers
            or have negative sizes, masks of another form, or scores that are not numbers in [0, 1]. Lists the first
            of them.
    """
    values = read_coco_json(path)
    if not isinstance(values, list):
        problem = f"holds a {type(values).__name__}, expected a list"
        hint = "A COCO result file is a list of objects with image_id, category_id, bbox and score."
        if isinstance(values, dict) and {"recipe", "classes", "threshold"} <= values.keys():
            problem = "was written by `codetr predict`, which names files and classes and has no ids of annotations"
            hint = "Run `codetr prepare` and `codetr evaluate`: the predictions.json of an evaluation can be scored."
        elif isinstance(values, dict) and "annotations" in values:
            problem = "is an annotation file, expected a list of results"
        raise UserError(problem, where=str(path), hint=hint)
    known = {
        "image_id": (_ids(ground_truth["images"]), {entry["id"] for entry in ground_truth["images"]}, "images"),
        "category_id": (
            _ids(ground_truth["categories"]),
            {entry["id"] for entry in ground_truth["categories"]},
            "categories",
        ),
    }
    predictions, problems = [], []
    for number, value in enumerate(values):
        if not isinstance(value, dict):
            problems.append(f"[{number}]: is a {type(value).__name__}, expected an object")
            continue
        entry_problems = _problems(value, known)
        problems.extend(f"[{number}].{problem}" for problem in entry_problems)
        if not entry_problems:
            ids = {field: of_list.resolve(value[field]) for field, (of_list, _, _) in known.items()}
            predictions.append({**value, **ids})
    if predictions and len({"bbox" in entry for entry in predictions}) > 1:
        problems.append("some entries have a bbox and others have none")
    if problems:
        raise UserError(listed(problems, _SHOWN, "; "), where=str(path))
    return predictions


def write_predictions(
    path: Path, predictions: PredictionTable, truth: GroundTruth, *, rows_at_once: int = ROWS
) -> None:
    """Write predictions as a COCO result file, `rows_at_once` at a time, atomically."""
    with atomic_file(path) as temporary, temporary.open("w", encoding="utf-8") as stream:
        stream.write("[")
        for start in range(0, len(predictions), rows_at_once):
            rows = np.arange(start, min(start + rows_at_once, len(predictions)))
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
    """Check every mask before pycocotools' C code reads it, which trusts lengths and sizes and would write past them.

    Args:
        ground_truth: COCO annotations; their images need height and width.
        predictions: COCO results.
        truth_file: name of the annotation file in errors.
        results_file: name of the result file in errors.

    Raises:
        UserError: images without a size, or masks that are missing or do not fit their image. Lists the first of them.
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
    for where, listing in ((truth_file, problems), (results_file, _mask_problems("", predictions, sizes))):
        if listing:
            raise UserError(listed(listing, _SHOWN, "; "), where=where)


def _mask_problems(name: str, entries: list[dict[str, Any]], sizes: dict[int, tuple[int, int]]) -> list[str]:
    """Return the problems of the masks of a list of entries; entries of images without a size are not checked."""
    problems = []
    for number, entry in enumerate(entries):
        if entry["image_id"] not in sizes:
            continue
        problem = None
        try:
            checked = check_segmentation(entry.get("segmentation"), *sizes[entry["image_id"]], keep_empty=True)
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


def _problems(entry: dict[str, Any], known: dict[str, tuple[ListedIds, set[int], str]]) -> list[str]:
    """Return the problems of one result as `field: problem` texts.

    Args:
        entry: the result.
        known: by field the ids of the file, as integers, and the name of their list.
    """
    problems = []
    for field, (ids, integers, plural) in known.items():
        if field not in entry:
            problems.append(f"{field}: is missing")
        elif ids.resolve(entry[field]) not in integers:
            problems.append(f"{field}: {short(entry[field])} is not an id of the ground truth's {plural}")
    score = entry.get("score")
    if "score" not in entry:
        problems.append("score: is missing")
    elif not _is_number(score) or not 0 <= score <= 1:
        problems.append(f"score: {short(score)} is not a number in [0, 1]")
    if "mask_score" in entry and not (_is_number(entry["mask_score"]) and 0 <= entry["mask_score"] <= 1):
        problems.append(f"mask_score: {short(entry['mask_score'])} is not a number in [0, 1]")
    if "bbox" in entry:
        box = entry["bbox"]
        if not _is_box(box):
            problems.append(f"bbox: {short(box)} is not a list of four numbers below {_MAX_COORDINATE:g}")
        elif box[2] < 0 or box[3] < 0:
            problems.append(f"bbox: {short(box)} has a negative width or height (boxes are [x, y, width, height])")
    elif "segmentation" not in entry:
        problems.append("bbox: is missing")
    if "segmentation" in entry and not _is_mask(entry["segmentation"]):
        problems.append(
            f"segmentation: {short(entry['segmentation'])} is not a compressed run-length code {{size, counts}}"
        )
    return problems


def _is_number(value: object) -> TypeGuard[float]:
    # NaN compares false; an integer too large for a float would become infinity.
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def _is_box(value: object) -> bool:
    return (
        isinstance(value, list)
        and len(value) == 4
        and all(_is_number(side) and abs(side) < _MAX_COORDINATE for side in value)
    )


def _is_mask(value: object) -> bool:
    if not isinstance(value, dict) or not isinstance(value.get("counts"), str):
        return False
    size = value.get("size")
    return isinstance(size, list) and len(size) == 2 and all(type(side) is int and side > 0 for side in size)
