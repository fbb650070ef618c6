"""Detection on any images: files and folders in, one JSON file and drawn pictures out."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from codetr.data.batch import collate
from codetr.data.config import PreprocessConfig
from codetr.data.images import read_image
from codetr.data.progress import track
from codetr.data.segmentation import decode
from codetr.data.transforms import preprocess_image
from codetr.drawing import Box, draw_boxes, elide
from codetr.errors import UserError
from codetr.evaluation.predict import coco_results
from codetr.files import atomic_directory, require_replaceable, write_json
from codetr.models.detector import CoDETR
from codetr.weights.files import load_model

PREDICTIONS, PICTURES = "predictions.json", "pictures"

# What counts as an image in a folder; a file named by itself is read whatever it is called.
SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif", ".ppm", ".pgm"})

_SMALLEST, _LARGEST = 960, 1920


@dataclass(frozen=True)
class FoundObject:
    """One detection: class (label and name), score in [0, 1], box [x, y, width, height] in pixels of the image.

    A model with masks adds a run-length code {size [height, width], counts} over the image and a score of the mask.
    """

    label: int
    name: str
    score: float
    bbox: tuple[float, float, float, float]
    segmentation: dict[str, Any] | None = None
    mask_score: float | None = None


@dataclass(frozen=True)
class PredictedImage:
    """What was found in one image, best first, and where the drawn picture is within the output folder."""

    file: str
    width: int
    height: int
    detections: list[FoundObject]
    picture: str


@dataclass(frozen=True)
class SkippedImage:
    """An image that could not be read, and why."""

    file: str
    reason: str


@dataclass(frozen=True)
class Prediction:
    """The content of `predictions.json`.

    Attributes:
        recipe: what the model was trained with.
        classes: class names in label order.
        threshold: detections with at least this score are listed and drawn.
        images: every image that could be read, in the order of the sources.
        skipped: every image that could not.
    """

    recipe: str
    classes: list[str]
    threshold: float
    images: list[PredictedImage] = field(default_factory=list)
    skipped: list[SkippedImage] = field(default_factory=list)


def predict(
    model: Path, sources: Sequence[Path], output: Path, *, threshold: float = 0.3, device: torch.device | None = None
) -> Prediction:
    """Detect objects in images and write `predictions.json` and drawn `pictures/`.

    Args:
        model: a model folder, or the weights file in it.
        sources: image files, and folders that are searched for images.
        output: folder to write; it appears as a whole at the end. It may exist if it is empty or an earlier output
            of this function, which is replaced.
        threshold: lowest score in [0, 1].
        device: where to compute; `None` takes a GPU when there is one.

    Returns:
        The content of `predictions.json`. Images that cannot be read are listed as skipped, with the reason.

    Raises:
        UserError: no model, no such source, no image in the sources or none that can be read, a threshold outside
            [0, 1], or an output folder that holds something else.
    """
    if not 0 <= threshold <= 1:
        raise UserError(f"{threshold} is not in [0, 1]", where="threshold")
    output = output.resolve()
    files = find_images(sources)
    check_output(output, files)
    device = device or torch.device("cuda" if torch.cuda.is_available() else "cpu")
    detector, info = load_model(model, device)
    result = Prediction(info.recipe, list(info.class_names), threshold)
    with atomic_directory(output) as folder:
        (folder / PICTURES).mkdir()
        for number, file in enumerate(track(files, len(files), "detect images"), start=1):
            try:
                image = read_image(file)
            except UserError as error:
                result.skipped.append(SkippedImage(str(file), error.problem))
                continue
            found = detect(detector, image, info.preprocess, result.classes, threshold, device)
            picture = f"{PICTURES}/{picture_name(number, file)}"
            draw(image, found, folder / picture)
            result.images.append(PredictedImage(str(file), image.shape[1], image.shape[0], found, picture))
        if not result.images:
            first = result.skipped[0]
            raise UserError(f"none of {len(files)} images can be read; the first {first.reason}", where=first.file)
        write_json(folder / PREDICTIONS, asdict(result))
    return result


def find_images(sources: Sequence[Path]) -> list[Path]:
    """The image files among sources: files as they are, folders searched in alphabetical order; none twice.

    Raises:
        UserError: a source does not exist, or there is no image at all.
    """
    files: dict[Path, Path] = {}
    for source in sources:
        if not source.exists():
            raise UserError("no such file or folder", where=str(source))
        for file in _walk(source) if source.is_dir() else [source]:
            files.setdefault(file.resolve(), file)
    if not files:
        hint = f"Folders are searched for files ending in {', '.join(sorted(SUFFIXES))}."
        raise UserError("no images", where=", ".join(map(str, sources)), hint=hint)
    return list(files.values())


def _walk(folder: Path) -> Iterator[Path]:
    # Links to folders are not followed: one that leads upwards would never end.
    for root, folders, names in os.walk(folder):
        folders.sort()
        yield from (Path(root) / name for name in sorted(names) if Path(name).suffix.lower() in SUFFIXES)


def check_output(output: Path, files: Sequence[Path]) -> None:
    """Raise `UserError` unless `output` may be replaced: it does not exist, is empty, or an earlier output.

    Args:
        output: absolute path.
        files: images that are going to be read.
    """
    require_replaceable(output, "output of predict", _is_output)
    if any(file.resolve().is_relative_to(output) for file in files):
        hint = "Give another output folder."
        raise UserError("holds images to be read, which would be replaced", where=str(output), hint=hint)


def _is_output(folder: Path) -> bool:
    names = {entry.name for entry in folder.iterdir()}
    return PREDICTIONS in names and not names - {PREDICTIONS, PICTURES}


def detect(
    detector: CoDETR,
    image: NDArray[np.uint8],
    preprocess: PreprocessConfig,
    names: Sequence[str],
    threshold: float,
    device: torch.device,
) -> list[FoundObject]:
    """Objects in one (height, width, 3) RGB image with at least the given score, best first."""
    pixels, sizes = preprocess_image(image, preprocess)
    with torch.no_grad():
        (detections,) = detector.detect(collate([pixels], [sizes], [0]).to(device))
    results = coco_results(detections[detections.scores >= threshold], 0, np.arange(len(names)))
    return [
        FoundObject(
            entry["category_id"],
            names[entry["category_id"]],
            entry["score"],
            tuple(entry["bbox"]),
            entry.get("segmentation"),
            entry.get("mask_score"),
        )
        for entry in results
    ]


def draw(image: NDArray[np.uint8], found: Sequence[FoundObject], path: Path) -> None:
    """Write a picture of an image with its detections; small images are enlarged so that labels can be read."""
    boxes = []
    for entry in reversed(found):
        x, y, width, height = entry.bbox
        caption = f"{elide(entry.name, 32)} {entry.score:.2f}"
        mask = None if entry.segmentation is None else decode(entry.segmentation, *image.shape[:2])
        boxes.append(Box((x, y, x + width, y + height), entry.label, caption, mask=mask))
    long_side = min(max(*image.shape[:2], _SMALLEST), _LARGEST)
    draw_boxes(image, boxes, long_side=long_side).save(path, quality=90)


def picture_name(number: int, file: Path) -> str:
    """A name that is unique by its number and safe on every file system, whatever the image is called."""
    stem = re.sub(r"[^A-Za-z0-9._-]+", "_", file.stem).strip("._")[:80]
    return f"{number:05d}_{stem}.jpg" if stem else f"{number:05d}.jpg"
