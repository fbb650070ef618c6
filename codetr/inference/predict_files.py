"""Detection on any images and videos: files and folders in, one JSON file and drawn pictures out."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from codetr.core.errors import UserError
from codetr.core.files import atomic_directory, require_replaceable, write_json
from codetr.core.progress import track
from codetr.data.images import read_image
from codetr.inference.config import TilesConfig, TTAConfig
from codetr.inference.load import build_predictor, load
from codetr.inference.predictor import Predictor, require_arguments
from codetr.inference.result import Result
from codetr.inference.sources import Sources, find_sources
from codetr.inference.video import VideoReader, VideoWriter, import_av

PREDICTIONS, PICTURES, VIDEOS = "predictions.json", "pictures", "videos"

_SMALLEST, _LARGEST = 960, 1920


@dataclass(frozen=True)
class ListedObject:
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
    detections: list[ListedObject]
    picture: str


@dataclass(frozen=True)
class PredictedVideo:
    """What was found in one video, and where it is within the output folder.

    Attributes:
        file: the file or address.
        width: of the frames, in pixels.
        height: of the frames, in pixels.
        rate: frames per second.
        frames: how many there were.
        objects: detections in all frames together.
        lines: a file with a line of JSON for every frame: its number `frame`, its `time` in seconds, `detections`.
        video: the drawn video.
    """

    file: str
    width: int
    height: int
    rate: float
    frames: int
    objects: int
    lines: str
    video: str


@dataclass(frozen=True)
class SkippedFile:
    """A file that could not be read, and why."""

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
        videos: every video that could be read.
        skipped: every image and video that could not.
    """

    recipe: str
    classes: list[str]
    threshold: float
    images: list[PredictedImage] = field(default_factory=list)
    videos: list[PredictedVideo] = field(default_factory=list)
    skipped: list[SkippedFile] = field(default_factory=list)

    @property
    def objects(self) -> int:
        """Detections in all images and videos together."""
        return sum(len(image.detections) for image in self.images) + sum(video.objects for video in self.videos)


def predict(
    model: str | Path,
    sources: Sequence[str | Path],
    output: Path,
    *,
    threshold: float = 0.3,
    tta: TTAConfig | None = None,
    tiles: TilesConfig | None = None,
    frames: int | None = None,
    device: str | torch.device = "auto",
) -> Prediction:
    """Detect objects in images and videos; write `predictions.json`, drawn `pictures/` and drawn `videos/`.

    Args:
        model: see `codetr.load`.
        sources: see `find_sources`.
        output: folder to write; it appears as a whole at the end. It may exist if it is empty or an earlier output
            of this function, which is replaced.
        threshold: lowest score in [0, 1].
        tta: look at every image several times.
        tiles: look at large images in tiles.
        frames: stop after so many frames of each video; None takes all there are.
        device: see `codetr.load`.

    Returns:
        The content of `predictions.json`. What cannot be read is listed as skipped, with the reason.

    Raises:
        UserError: no model, no such source, nothing in the sources or nothing that can be read, a threshold outside
            [0, 1], or an output folder that holds something else.
    """
    require_arguments(threshold)
    output = output.resolve()
    found = find_sources(sources)
    check_output(output, found)
    if found.videos:
        import_av()
    predictor = build_predictor(load(model, device=device), tta, tiles)
    result = Prediction(predictor.info.recipe, list(predictor.class_names), threshold)
    with atomic_directory(output) as folder:
        if found.images:
            _predict_images(predictor, found.images, result, folder)
        for number, video in enumerate(found.videos, start=1):
            _predict_video(predictor, video, number, frames, result, folder)
        if not result.images and not result.videos:
            first, count = result.skipped[0], len(result.skipped)
            what = "videos" if not found.images else "images" if not found.videos else "files"
            raise UserError(f"none of {count} {what} can be read; the first {first.reason}", where=first.file)
        write_json(folder / PREDICTIONS, asdict(result))
    return result


def check_output(output: Path, sources: Sources) -> None:
    """Raise `UserError` unless `output` may be replaced: it does not exist, is empty, or an earlier output.

    Args:
        output: absolute path.
        sources: files that are going to be read.
    """
    require_replaceable(output, "output of predict", _names)
    if any(file.resolve().is_relative_to(output) for file in [*sources.images, *map(Path, sources.videos)]):
        hint = "Give another output folder."
        raise UserError("holds files to be read, which would be replaced", where=str(output), hint=hint)


def _names(folder: Path) -> tuple[str, ...] | None:
    return (PREDICTIONS, PICTURES, VIDEOS) if (folder / PREDICTIONS).exists() else None


def _predict_images(predictor: Predictor, files: Sequence[Path], into: Prediction, folder: Path) -> None:
    (folder / PICTURES).mkdir()
    for number, file in enumerate(track(files, len(files), "detect images"), start=1):
        try:
            image = read_image(file)
        except UserError as error:
            into.skipped.append(SkippedFile(str(file), error.problem))
            continue
        result = predictor.predict(image, threshold=into.threshold)
        height, width = result.size
        picture = f"{PICTURES}/{safe_name(number, file.stem)}.jpg"
        # Small images are enlarged so that labels can be read.
        result.save(folder / picture, long_side=min(max(height, width, _SMALLEST), _LARGEST))
        into.images.append(PredictedImage(str(file), width, height, listed(result), picture))


def _predict_video(
    predictor: Predictor, video: str, number: int, limit: int | None, into: Prediction, folder: Path
) -> None:
    (folder / VIDEOS).mkdir(exist_ok=True)
    try:
        reader = VideoReader(video)
    except UserError as error:
        into.skipped.append(SkippedFile(video, error.problem))
        return
    name = f"{VIDEOS}/{safe_name(number, Path(video).stem)}"
    drawn, lines = f"{name}.mp4", f"{name}.jsonl"
    count = objects = 0
    with reader, VideoWriter(folder / drawn, reader.rate) as writer, (folder / lines).open("w") as stream:
        total = min(filter(None, (limit, reader.expected)), default=None)
        frames = islice(reader, limit)
        for result in track(predictor.predict_frames(frames, threshold=into.threshold), total, f"detect in {video}"):
            found = [asdict(entry) for entry in listed(result)]
            stream.write(json.dumps({"frame": result.frame, "time": result.time, "detections": found}) + "\n")
            writer.write(result.draw(), result.time or 0.0)
            count, objects = count + 1, objects + len(result)
        height, width = reader.size
        into.videos.append(PredictedVideo(video, width, height, float(reader.rate), count, objects, lines, drawn))


def listed(result: Result) -> list[ListedObject]:
    """The objects of a result, as they are written to files."""
    return [
        ListedObject(
            entry["category_id"],
            result.class_names[entry["category_id"]],
            entry["score"],
            tuple(entry["bbox"]),
            entry.get("segmentation"),
            entry.get("mask_score"),
        )
        for entry in result.to_coco()
    ]


def safe_name(number: int, stem: str) -> str:
    """A name that is unique by its number and safe on every file system, whatever the file is called."""
    stem = re.sub(r"[^A-Za-z0-9._-]+", "_", stem).strip("._")[:80]
    return f"{number:05d}_{stem}" if stem else f"{number:05d}"
