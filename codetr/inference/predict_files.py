"""Detect in image and video files; write one JSON file, and the images and videos with boxes drawn."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path

import torch

from codetr.core.errors import UserError
from codetr.core.files import atomic_directory, require_replaceable, safe_name
from codetr.core.progress import track
from codetr.data.config import MAX_PIXELS
from codetr.data.images import read_image
from codetr.inference.config import TilesConfig, TTAConfig
from codetr.inference.detection_files import (
    CSV,
    LABELS,
    DetectionFile,
    LabelNames,
    ListedObject,
    listed_objects,
    open_detection_files,
    require_formats,
)
from codetr.inference.load import build_predictor, load
from codetr.inference.predictor import Predictor, require_arguments
from codetr.inference.sources import ImageFile, Sources, find_sources, is_stream
from codetr.inference.streams.camera import CameraReader, camera_index, import_opencv, open_camera
from codetr.inference.streams.interrupt import deferred_interrupt
from codetr.inference.streams.video import VideoReader, VideoWriter, import_av
from codetr.visual.picture_length import picture_length

logger = logging.getLogger(__name__)

PREDICTIONS, PICTURES, VIDEOS = "predictions.json", "pictures", "videos"


@dataclass(frozen=True)
class PredictedImage:
    """The detections in one image, best first, and the paths of its files within the output folder.

    Attributes:
        file: the image.
        width: in pixels.
        height: in pixels.
        detections: best first.
        picture: the drawn picture.
        labels: the label file of YOLO; None if there is none.
    """

    file: str
    width: int
    height: int
    detections: list[ListedObject]
    picture: str
    labels: str | None = None


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
        labels: the folder with a label file of YOLO for each frame; None if there is none.
    """

    file: str
    width: int
    height: int
    rate: float
    frames: int
    objects: int
    lines: str
    video: str
    labels: str | None = None


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
    formats: Collection[str] = (),
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
        formats: of `FORMATS` in `codetr.inference.detection_files`, which are written in addition.
        device: see `codetr.load`.

    Returns:
        The content of `predictions.json`. Files that cannot be read are listed as skipped, with the reason.

    Raises:
        UserError: there is no such model or source; the sources hold no image and no video, or none that can be read;
            the threshold is outside [0, 1]; a format is unknown; the output folder holds other files.
    """
    require_arguments(threshold)
    require_formats(formats)
    output = output.resolve()
    found = find_sources(sources)
    check_output(output, found)
    if found.videos:
        import_av()
    if any(camera_index(video) is not None for video in found.videos):
        import_opencv()
    predictor = build_predictor(load(model, device=device), tta, tiles)
    result = PredictedFiles(predictor.info.recipe, list(predictor.class_names), threshold)
    with atomic_directory(output) as folder, open_detection_files(folder, formats) as files:
        run = _Run(predictor, folder, result, files, with_labels=bool(set(formats) - {"csv"}))
        if found.images:
            run.predict_images(found.images, max_pixels)
        run.predict_videos(found.videos, frames)
        if not result.images and not result.videos:
            first, count = result.skipped[0], len(result.skipped)
            what = "videos" if not found.images else "images" if not found.videos else "files"
            problem = first.reason if count == 1 else f"none of {count} {what} can be read; the first {first.reason}"
            raise UserError(problem, where=first.file)
        write_predictions(folder / PREDICTIONS, result)
    return result


def write_predictions(path: Path, result: PredictedFiles) -> None:
    """Write `predictions.json`, an image at a time: the text of all of them may be larger than the memory."""
    head = {"recipe": result.recipe, "classes": result.classes, "threshold": result.threshold}
    with path.open("w", encoding="utf-8") as stream:
        stream.write(json.dumps(head, indent=2, allow_nan=False).removesuffix("\n}"))
        for name in ("images", "videos", "skipped"):
            stream.write(f',\n  "{name}": [')
            for k, entry in enumerate(getattr(result, name)):
                stream.write(f"{',' if k else ''}\n    {json.dumps(asdict(entry), allow_nan=False)}")
            stream.write("\n  ]")
        stream.write("\n}\n")


def check_output(output: Path, sources: Sources) -> None:
    """Raise `UserError` unless `output` may be replaced: it does not exist, is empty, or is an earlier output.

    Args:
        output: absolute path.
        sources: files to be read, which must not be in the folder.
    """
    require_replaceable(output, "output of predict", _written_names)
    files = [*(str(image.path) for image in sources.images), *sources.videos]
    # Not `Path.resolve`, which raises for a link to itself.
    if any(Path(os.path.realpath(file)).is_relative_to(output) for file in files):
        hint = "Choose another output folder."
        raise UserError("holds input files, which would be replaced", where=str(output), hint=hint)


def _written_names(folder: Path) -> tuple[str, ...] | None:
    return (PREDICTIONS, PICTURES, VIDEOS, CSV, LABELS) if (folder / PREDICTIONS).exists() else None


@dataclass
class _Run:
    """Detect in images and videos, and write what is found into a folder.

    Attributes:
        predictor: detects.
        folder: the output.
        into: what was read so far.
        files: further files of the detections.
        with_labels: whether there is a label file for each image.
    """

    predictor: Predictor
    folder: Path
    into: PredictedFiles
    files: Sequence[DetectionFile]
    with_labels: bool
    names: LabelNames = field(default_factory=LabelNames)

    def predict_images(self, images: Sequence[ImageFile], max_pixels: int) -> None:
        """Detect in images, and draw a picture of each."""
        (self.folder / PICTURES).mkdir()
        range_16bit, threshold = self.predictor.info.range_16bit, self.into.threshold
        for number, image in enumerate(track(images, len(images), "detect images"), start=1):
            file = str(image.path)
            try:
                pixels = read_image(image.path, range_16bit=range_16bit, max_pixels=max_pixels)
            except UserError as error:
                self.into.skipped.append(SkippedFile(file, error.problem))
                continue
            result = self.predictor.predict(pixels, threshold=threshold)
            height, width = result.size
            picture = f"{PICTURES}/{safe_name(number, image.path.stem)}.jpg"
            result.save(self.folder / picture, long_side=picture_length(height, width))
            objects, labels = listed_objects(result), self.names.of_image(image.name, number)
            for written in self.files:
                written.add(file, result, objects, labels)
            label_file = f"{LABELS}/{labels.as_posix()}" if self.with_labels else None
            self.into.images.append(PredictedImage(file, width, height, objects, picture, label_file))

    def predict_videos(self, videos: Sequence[str], limit: int | None) -> None:
        """Detect in videos, streams and cameras, until all are done or Ctrl-C ends one that has no end."""
        for number, video in enumerate(videos, start=1):
            if self.predict_video(video, number, limit):
                logger.info("stopped; writing the frames until here")
                return

    def predict_video(self, video: str, number: int, limit: int | None) -> bool:
        """Detect in the frames of a video, stream or camera, and draw them.

        Returns:
            Whether Ctrl-C was pressed. It ends a stream and a camera, which have no end, after the current frame.
        """
        (self.folder / VIDEOS).mkdir(exist_ok=True)
        try:
            reader = open_video(video)
        except UserError as error:
            if camera_index(video) is not None:
                raise
            self.into.skipped.append(SkippedFile(video, error.problem))
            return False
        stem = Path(video).stem
        name, label_folder = f"{VIDEOS}/{safe_name(number, stem)}", self.names.of_video(stem, number)
        drawn, lines = f"{name}.mp4", f"{name}.jsonl"
        frames = objects = 0
        (height, width), rate = reader.size, float(reader.rate)
        total = min(filter(None, (limit, reader.expected)), default=None)
        with (
            reader,
            # The end of a file may be unknown too, but half a file would look complete.
            deferred_interrupt(enabled=reader.expected is None and is_stream(video)) as interrupt,
            VideoWriter(self.folder / drawn, reader.rate) as writer,
            (self.folder / lines).open("w") as stream,
        ):
            results = self.predictor.predict_frames(islice(reader, limit), threshold=self.into.threshold)
            for result in track(results, total, f"detect in {video}"):
                found = listed_objects(result)
                line = {"frame": result.frame, "time": result.time, "detections": [asdict(entry) for entry in found]}
                writer.write(result.draw(), result.time or 0.0)
                stream.write(json.dumps(line) + "\n")
                for written in self.files:
                    written.add(video, result, found, label_folder / f"{result.frame:06d}.txt")
                frames, objects = frames + 1, objects + len(result)
                if interrupt.received:
                    break
        labels = f"{LABELS}/{label_folder}" if self.with_labels else None
        self.into.videos.append(PredictedVideo(video, width, height, rate, frames, objects, lines, drawn, labels))
        return interrupt.received


def open_video(source: str) -> VideoReader | CameraReader:
    """Open a video, a stream, or a camera such as "camera:0".

    Raises:
        UserError: see `VideoReader` and `open_camera`.
    """
    camera = camera_index(source)
    return VideoReader(source) if camera is None else open_camera(camera)
