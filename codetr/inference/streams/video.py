"""Frames of videos and streams, read and written by FFmpeg through PyAV, one at a time."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from codetr.core.errors import UserError
from codetr.core.extras import install_hint

_log = logging.getLogger(__name__)

_CLOCK = Fraction(1, 90_000)
"""Time base of written videos: the usual frame durations are multiples of it."""

_OPEN_SECONDS = 30.0
"""Timeout for opening an address."""


@dataclass(frozen=True)
class Frame:
    """One frame of a video.

    Attributes:
        index: position in the video, from 0.
        time: seconds after the first frame.
        pixels: (height, width, 3) uint8 RGB, upright.
    """

    index: int
    time: float
    pixels: NDArray[np.uint8]


class VideoReader:
    """The frames of a video file or stream; a context manager that can be iterated over once.

    Packets that cannot be decoded are skipped, and a truncated video ends where it is cut; both log a warning.

    Args:
        source: a file, or an address that FFmpeg reads.

    Attributes:
        name: the file or address.
        size: (height, width) of the first frame, upright, in pixels.

    Raises:
        UserError: PyAV is not installed, the source is not a video, or it holds no frame that can be decoded.
    """

    def __init__(self, source: str | os.PathLike[str]) -> None:
        av = import_av()
        self.name = os.fspath(source)
        try:
            self._container = av.open(self.name, timeout=(_OPEN_SECONDS, None))
        except (av.error.FFmpegError, OSError) as error:
            raise UserError(f"cannot be read as a video: {_reason(error)}", where=self.name) from None
        self._frames = self._upright()
        first = next(self._frames, None)
        if first is None:
            self._container.close()
            raise UserError("holds no frame that can be decoded", where=self.name)
        self._first = first
        self.size = first.pixels.shape[:2]

    @property
    def rate(self) -> Fraction:
        """Frames per second, from the video's metadata."""
        stream = self._container.streams.video[0]
        return Fraction(stream.average_rate or stream.guessed_rate or 25)

    @property
    def expected(self) -> int | None:
        """Number of frames, from the video's metadata; None for streams."""
        duration = self._container.duration or 0
        return self._container.streams.video[0].frames or round(duration * self.rate / 1_000_000) or None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._container.close()

    def __iter__(self) -> Iterator[Frame]:
        yield self._first
        yield from self._frames

    def _upright(self) -> Iterator[Frame]:
        start = 0.0
        for index, frame in enumerate(self._decoded()):
            time = index / float(self.rate) if frame.time is None else float(frame.time)
            if not index:
                start = time
            # Phones held upright write rotated frames, with the rotation as metadata.
            turned = np.rot90(frame.to_ndarray(format="rgb24"), round(frame.rotation / 90))
            yield Frame(index, time - start, np.ascontiguousarray(turned))

    def _decoded(self) -> Iterator[Any]:
        av = import_av()
        if not self._container.streams.video:
            return
        stream = self._container.streams.video[0]
        stream.thread_type = "AUTO"
        damaged = 0
        packets = self._container.demux(stream)
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                break
            except (av.error.FFmpegError, OSError) as error:
                _log.warning("%s is truncated: %s", self.name, _reason(error))
                break
            try:
                frames = packet.decode()
            except av.error.FFmpegError:
                damaged += 1
                continue
            yield from frames
        if damaged:
            _log.warning("%s: skipped %d damaged packets", self.name, damaged)


class VideoWriter:
    """An H.264 video in an MP4 file, written frame by frame; a context manager.

    Args:
        path: the file.
        rate: nominal frames per second; every frame is shown at the time that it is written with.

    Raises:
        UserError: PyAV is not installed, or its FFmpeg has no H.264 encoder.
    """

    def __init__(self, path: Path, rate: Fraction) -> None:
        av = import_av()
        self._container = av.open(os.fspath(path), "w", format="mp4")
        try:
            self._stream = self._container.add_stream("libx264", rate=rate, options={"crf": "23", "preset": "veryfast"})
        except (av.error.FFmpegError, ValueError):
            self._container.close()
            hint = f"The wheel of PyAV has one. {install_hint('video')}"
            raise UserError("the installed PyAV has no H.264 encoder", hint=hint) from None
        self._stream.pix_fmt = "yuv420p"
        self._stream.codec_context.time_base = _CLOCK
        self._size: tuple[int, int] | None = None
        self._last = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is None and self._size is not None:
            self._container.mux(self._stream.encode(None))
        self._container.close()

    def write(self, picture: Image.Image, time: float) -> None:
        """Add a picture that is shown from `time`, in seconds; all are resized to the size of the first.

        Sides are rounded up to even numbers, which the pixel format yuv420p requires.
        """
        if self._size is None:
            self._size = picture.width + picture.width % 2, picture.height + picture.height % 2
            self._stream.width, self._stream.height = self._size
        if picture.size != self._size:
            picture = picture.resize(self._size)
        frame = import_av().VideoFrame.from_image(picture)
        self._last = frame.pts = max(round(time / _CLOCK), self._last + 1)
        frame.time_base = _CLOCK
        self._container.mux(self._stream.encode(frame))


def import_av() -> Any:
    """Import PyAV, which is an optional dependency.

    Raises:
        UserError: it is not installed.
    """
    try:
        import av
    except ImportError:
        hint = install_hint("video")
        raise UserError("videos need the package av (PyAV)", hint=hint) from None
    return av


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
