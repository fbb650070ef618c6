"""Detect in image and video files; write one JSON file, and the images and videos with boxes drawn."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from codetr.core.errors import UserError
from codetr.core.files import atomic_directory, require_replaceable, safe_name, write_json
from codetr.core.progress import track
from codetr.data.config import MAX_PIXELS
from codetr.data.images import read_image
from codetr.inference.config import TilesConfig, TTAConfig
from codetr.inference.load import build_predictor, load
from codetr.inference.predictor import Predictor, require_arguments
from codetr.inference.result import Result
from codetr.inference.sources import Sources, find_sources
from codetr.inference.video import VideoReader, VideoWriter, import_av

PREDICTIONS, PICTURES, VIDEOS = "predictions.json", "pictures", "videos"

_MIN_LONG_SIDE, _MAX_LONG_SIDE = 960, 1920
"""Limits of the longer side of drawn pictures, in pixels: small images are enlarged so that labels can be read."""


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
    """The detections in one image, best first, and the path of the drawn picture within the output folder."""

    file: str
    width: int
    height: int
    detections: list[ListedObject]
    picture: str


@dataclass(frozen=True)
class PredictedVideo:
    """A summary of the detections in one video, and the paths of its files within the output folder.

    Attributes:
        file: the file or address.
        width: of the frames, in pixels.
        height: of the frames, in pixels.
        rate: frames per second.
        frames: number of frames.
        objects: detections in all frames.
        lines: a JSON Lines file, one object per frame: `frame` (its index), `time` in seconds, `detections`.
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
    """A file that cannot be read, and the reason."""

    file: str
    reason: str


@dataclass(frozen=True)
class PredictedFiles:
    """The content of `predictions.json`.

    Attributes:
        recipe: name of the recipe the model was trained with.
        classes: class names in label order.
        threshold: lowest score of the detections that are listed and drawn.
        images: all images that can be read, in the order of the sources.
        videos: all videos that can be read.
        skipped: all images and videos that cannot be read.
    """

    recipe: str
    classes: list[str]
    threshold: float
    images: list[PredictedImage] = field(default_factory=list)
    videos: list[PredictedVideo] = field(default_factory=list)
    skipped: list[SkippedFile] = field(default_factory=list)

    @property
    def objects(self) -> int:
        """Number of detections in all images and videos."""
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
    max_pixels: int = MAX_PIXELS,
    device: str | torch.device = "auto",
) -> PredictedFiles:
    """Detect objects in images and videos; write `predictions.json`, drawn `pictures/` and drawn `videos/`.

    Args:
        model: see `codetr.load`.
        sources: see `find_sources`.
        output: folder to write, atomically at the end. It may exist if it is empty or an earlier output of this
            function, which is replaced.
        threshold: lowest score in [0, 1].
        tta: test-time augmentation.
        tiles: tiled inference for large images.
        frames: stop after so many frames of each video; None reads all.
        max_pixels: pixels of the largest image that is decoded, which takes about 8 bytes a pixel.
        device: see `codetr.load`.

    Returns:
        The content of `predictions.json`. Files that cannot be read are listed as skipped, with the reason.

    Raises:
        UserError: there is no such model or source; the sources hold no image and no video, or none that can be read;
            the threshold is outside [0, 1]; the output folder holds other files.
    """
    require_arguments(threshold)
    output = output.resolve()
    found = find_sources(sources)
    check_output(output, found)
    if found.videos:
        import_av()
    predictor = build_predictor(load(model, device=device), tta, tiles)
    result = PredictedFiles(predictor.info.recipe, list(predictor.class_names), threshold)
    with atomic_directory(output) as folder:
        if found.images:
            _predict_images(predictor, found.images, result, folder, max_pixels)
        for number, video in enumerate(found.videos, start=1):
            _predict_video(predictor, video, number, frames, result, folder)
        if not result.images and not result.videos:
            first, count = result.skipped[0], len(result.skipped)
            what = "videos" if not found.images else "images" if not found.videos else "files"
            raise UserError(f"none of {count} {what} can be read; the first {first.reason}", where=first.file)
        write_json(folder / PREDICTIONS, asdict(result))
    return result


def check_output(output: Path, sources: Sources) -> None:
    """Raise `UserError` unless `output` may be replaced: it does not exist, is empty, or is an earlier output.

    Args:
        output: absolute path.
        sources: files to be read, which must not be in the folder.
    """
    require_replaceable(output, "output of predict", _written_names)
    files = [*map(str, sources.images), *sources.videos]
    # Not `Path.resolve`, which raises for a link to itself.
    if any(Path(os.path.realpath(file)).is_relative_to(output) for file in files):
        hint = "Choose another output folder."
        raise UserError("holds input files, which would be replaced", where=str(output), hint=hint)


def _written_names(folder: Path) -> tuple[str, ...] | None:
    return (PREDICTIONS, PICTURES, VIDEOS) if (folder / PREDICTIONS).exists() else None


def _predict_images(
    predictor: Predictor, files: Sequence[Path], into: PredictedFiles, folder: Path, max_pixels: int
) -> None:
    (folder / PICTURES).mkdir()
    for number, file in enumerate(track(files, len(files), "detect images"), start=1):
        try:
            image = read_image(file, range_16bit=predictor.info.range_16bit, max_pixels=max_pixels)
        except UserError as error:
            into.skipped.append(SkippedFile(str(file), error.problem))
            continue
        result = predictor.predict(image, threshold=into.threshold)
        height, width = result.size
        picture = f"{PICTURES}/{safe_name(number, file.stem)}.jpg"
        result.save(folder / picture, long_side=min(max(height, width, _MIN_LONG_SIDE), _MAX_LONG_SIDE))
        into.images.append(PredictedImage(str(file), width, height, listed_objects(result), picture))


def _predict_video(
    predictor: Predictor, video: str, number: int, limit: int | None, into: PredictedFiles, folder: Path
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
            found = [asdict(entry) for entry in listed_objects(result)]
            stream.write(json.dumps({"frame": result.frame, "time": result.time, "detections": found}) + "\n")
            writer.write(result.draw(), result.time or 0.0)
            count, objects = count + 1, objects + len(result)
        height, width = reader.size
        into.videos.append(PredictedVideo(video, width, height, float(reader.rate), count, objects, lines, drawn))


def listed_objects(result: Result) -> list[ListedObject]:
    """Convert the objects of a result to what is written to files."""
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
