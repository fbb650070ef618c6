"""Models and wrappers around them: one interface, from images of any type to results."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice
from os import PathLike
from typing import Self, TypeVar, overload

import numpy as np
import torch
from numpy.typing import NDArray

from codetr.core.errors import UserError
from codetr.data.config import MAX_PIXELS
from codetr.data.loading.collate import collate_views
from codetr.data.transforms.view import View
from codetr.distributed.devices import select_device
from codetr.inference.coco_results import require_finite
from codetr.inference.inputs import ImageInput, RawImage, as_rgb, is_single
from codetr.inference.result import Result
from codetr.inference.streams.video import Frame, VideoReader
from codetr.models.detector import CoDETR
from codetr.models.structures import Detections, ImageBatch
from codetr.weights.model_folder import ModelInfo

T = TypeVar("T")


class Predictor(ABC):
    """What detects objects in images: a model, or a wrapper that shows a model several views of each image.

    Detection has three parts, so that loader processes can do the first for a whole dataset: `passes` plans what the
    network is shown, `run` runs the network on a batch, and `merge` combines its outputs.

    Attributes:
        info: recipe, class names, architecture and preprocessing of the model.
    """

    info: ModelInfo

    @abstractmethod
    def passes(self, views: Sequence[View]) -> Iterator[list[View]]:
        """Plan the batches that the network is run on to detect in `views`.

        The plan depends on nothing but its arguments.
        """

    @abstractmethod
    def run(self, batch: ImageBatch) -> list[Detections]:
        """Run the network on one batch.

        Returns:
            For every view in the batch, on the model's device: boxes in pixels of the view, best first.
        """

    @abstractmethod
    def merge(self, outputs: Iterator[list[Detections]], views: Sequence[View]) -> list[Detections]:
        """Combine the outputs of `run` for the batches of `passes(views)`, which are taken from `outputs` in order.

        Returns:
            For every view: boxes in pixels of the view, best first.
        """

    def detect(self, images: Sequence[NDArray[np.uint8]]) -> list[Detections]:
        """Detect objects in decoded images, which are given to the network as one batch.

        Args:
            images: (height, width, 3) uint8 RGB each.

        Returns:
            For every image, on the model's device: boxes in pixels of the image, best first.
        """
        preprocess = self.info.preprocess
        views = [View.whole(k, (image.shape[0], image.shape[1]), preprocess) for k, image in enumerate(images)]
        batches = (
            collate_views(shown, images.__getitem__, [view.image for view in shown]) for shown in self.passes(views)
        )
        return self.merge(map(self.run, batches), views)

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes, by label."""
        return self.info.class_names

    # A string is an iterable of strings, too.
    @overload
    def predict(  # type: ignore[overload-overlap]
        self, images: ImageInput, *, threshold: float = 0.3, batch_size: int = 1, max_pixels: int = MAX_PIXELS
    ) -> Result: ...
    @overload
    def predict(
        self,
        images: Iterable[ImageInput],
        *,
        threshold: float = 0.3,
        batch_size: int = 1,
        max_pixels: int = MAX_PIXELS,
    ) -> list[Result]: ...
    def predict(
        self,
        images: ImageInput | Iterable[ImageInput],
        *,
        threshold: float = 0.3,
        batch_size: int = 1,
        max_pixels: int = MAX_PIXELS,
    ) -> Result | list[Result]:
        """Detect objects: a result for one image, a list of results for several.

        An image is a path, a Pillow image, an array (height, width, 3), or a tensor (3, height, width). Arrays and
        tensors are RGB, uint8 or floating point in 0..1. Several images are an iterable of these, or an array or tensor
        with one more axis.

        Args:
            images: one image or several. Files and Pillow images are rotated upright by their EXIF orientation.
            threshold: lowest score, in [0, 1].
            batch_size: images in a batch. They are padded to a common size, which changes scores and boxes slightly;
                with 1, a result depends on nothing but its image.
            max_pixels: pixels of the largest file that is decoded, which takes about 8 bytes a pixel.

        Raises:
            UserError: an image cannot be read, or an argument is out of range.
        """
        require_arguments(threshold, batch_size)
        decode = partial(as_rgb, range_16bit=self.info.range_16bit, max_pixels=max_pixels)
        if is_single(images):
            (result,) = self._results([decode(images, "image")], threshold)
            return result
        decoded = (decode(image, f"images[{position}]") for position, image in enumerate(images))
        return [result for batch in batched(decoded, batch_size) for result in self._results(batch, threshold)]

    def predict_video(
        self, video: str | PathLike[str], *, threshold: float = 0.3, batch_size: int = 1
    ) -> Iterator[Result]:
        """Detect objects in a video frame by frame; only the current frames are in memory.

        Args:
            video: a file, or an address that FFmpeg reads, e.g. "rtsp://…", "https://…" or "pipe:0" (standard input).
            threshold: see `predict`.
            batch_size: see `predict`.

        Returns:
            An iterator of results, one per frame in order of time, with `frame` and `time` set.

        Raises:
            UserError: it cannot be opened, or holds no frame that can be decoded.
        """
        require_arguments(threshold, batch_size)
        with VideoReader(video) as reader:
            yield from self.predict_frames(reader, threshold=threshold, batch_size=batch_size)

    def predict_frames(
        self, frames: Iterable[Frame], *, threshold: float = 0.3, batch_size: int = 1
    ) -> Iterator[Result]:
        """Detect objects in frames of any source, see `predict_video`.

        Raises:
            UserError: an argument is out of range.
        """
        require_arguments(threshold, batch_size)
        for batch in batched(frames, batch_size):
            found = self._results([RawImage(frame.pixels) for frame in batch], threshold)
            for frame, result in zip(batch, found, strict=True):
                yield replace(result, frame=frame.index, time=frame.time)

    def _results(self, images: Sequence[RawImage], threshold: float) -> list[Result]:
        results = []
        for image, found in zip(images, self.detect([image.pixels for image in images]), strict=True):
            require_finite(found, str(image.path or "detections"))
            kept = found[found.scores >= threshold].to("cpu")
            pixels = image.pixels if image.path is None else None
            size, levels = image.pixels.shape[:2], self.info.range_16bit
            results.append(Result(kept, self.class_names, size, image.path, pixels=pixels, range_16bit=levels))
        return results


class Model(Predictor):
    """A detector with its class names and preprocessing.

    Args:
        detector: the network; it is set to evaluation mode.
        info: class names and preprocessing.
    """

    def __init__(self, detector: CoDETR, info: ModelInfo) -> None:
        self.detector, self.info = detector.eval(), info

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        return next(self.detector.parameters()).device

    def to(self, device: str | torch.device) -> Self:
        """Move the weights to a device, for example "cpu" or "cuda:1".

        Raises:
            UserError: this machine has no such device.
        """
        self.detector.to(select_device(device))
        return self

    def passes(self, views: Sequence[View]) -> Iterator[list[View]]:
        """Plan one batch of all views."""
        yield list(views)

    @torch.no_grad()
    def run(self, batch: ImageBatch) -> list[Detections]:
        """Run the detector, see `Predictor.run`."""
        found: list[Detections] = self.detector(batch.to(self.device, non_blocking=True))
        return found

    def merge(self, outputs: Iterator[list[Detections]], views: Sequence[View]) -> list[Detections]:
        """Return the detections of the one batch."""
        return next(outputs)


def require_arguments(threshold: float, batch_size: int = 1) -> None:
    """Raise `UserError` if a threshold or a batch size is out of range."""
    if not 0 <= threshold <= 1:
        raise UserError(f"{threshold} is not in [0, 1]", where="threshold")
    if batch_size < 1:
        raise UserError(f"{batch_size} is not at least 1", where="batch_size")


def batched(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Yield lists of `size` items; the last may be shorter."""
    iterator = iter(items)
    for first in iterator:
        yield [first, *islice(iterator, size - 1)]
