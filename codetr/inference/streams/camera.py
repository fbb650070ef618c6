"""Frames of a camera of this machine, read by OpenCV."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from codetr.core.errors import UserError
from codetr.core.extras import install_hint
from codetr.inference.streams.video import Frame

_log = logging.getLogger(__name__)

_ADDRESS = re.compile(r"camera:(\d{1,4})")

_RATE = Fraction(25)
"""Frames per second of a camera that does not say how many it has."""


class CameraReader:
    """The frames of a camera; a context manager that can be iterated over once.

    Args:
        capture: an open `cv2.VideoCapture`.
        name: of the camera, for messages.

    Attributes:
        name: of the camera.
        size: (height, width) of the frames in pixels.
        rate: nominal frames per second.
        expected: None: a camera has no end.

    Raises:
        UserError: it gives no frame.
    """

    expected: int | None = None

    def __init__(self, capture: Any, name: str) -> None:
        self.name, self._capture = name, capture
        self._started = time.monotonic()
        first = self._read(0)
        if first is None:
            capture.release()
            raise UserError("gives no picture", where=name, hint="Is another program using it?")
        self._first = first
        self.size = first.pixels.shape[:2]
        rate = capture.get(5)  # CAP_PROP_FPS
        self.rate = Fraction(rate).limit_denominator(1000) if 1 <= rate <= 1000 else _RATE

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._capture.release()

    def __iter__(self) -> Iterator[Frame]:
        yield self._first
        index = 1
        while (frame := self._read(index)) is not None:
            yield frame
            index += 1
        _log.warning("%s gives no more pictures", self.name)

    def _read(self, index: int) -> Frame | None:
        found, picture = self._capture.read()
        if not found:
            return None
        # The time at which it arrives: a slow model skips pictures.
        return Frame(
            index, time.monotonic() - self._started if index else 0.0, np.ascontiguousarray(picture[..., ::-1])
        )


def camera_index(source: str) -> int | None:
    """Return the index of a camera that an address such as "camera:0" names; None for other addresses."""
    found = _ADDRESS.fullmatch(source)
    return None if found is None else int(found[1])


def open_camera(index: int) -> CameraReader:
    """Open a camera.

    Args:
        index: from 0, in the order of the system: /dev/video0 on Linux.

    Raises:
        UserError: there is no such camera, it cannot be used, or OpenCV is not installed.
    """
    opencv = import_opencv()
    name = f"camera {index}"
    # It prints lines about every camera that is not there.
    opencv.utils.logging.setLogLevel(opencv.utils.logging.LOG_LEVEL_SILENT)
    capture = opencv.VideoCapture(index)
    if not capture.isOpened():
        capture.release()
        present = sorted(path.name for path in Path("/dev").glob("video[0-9]*"))
        seen = f"The system has {', '.join(present)} in /dev." if present else "The system has no /dev/video*."
        hint = f"{seen} In a container, pass the device; addresses such as rtsp://… need no camera here."
        raise UserError("there is no such camera, or it cannot be used", where=name, hint=hint)
    return CameraReader(capture, name)


def import_opencv() -> Any:
    """Import OpenCV, which is an optional dependency.

    Raises:
        UserError: it is not installed.
    """
    try:
        import cv2
    except ImportError:
        raise UserError("cameras need the package opencv-python", hint=install_hint("camera")) from None
    return cv2
