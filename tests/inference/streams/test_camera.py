"""Frames of a camera: OpenCV reads a file in its place, with the same interface."""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from codetr.core.errors import UserError
from codetr.inference.predict_files import predict
from codetr.inference.streams.camera import CameraReader, camera_index, open_camera
from tests.support.data.clips import picture, write_clip


def test_frames_are_rgb_in_order_with_the_time_of_their_arrival(tmp_path: Path) -> None:
    """OpenCV gives BGR: detectors would see wrong colours."""
    capture = cv2.VideoCapture(str(write_clip(tmp_path / "clip.mp4", 4)))
    with CameraReader(capture, "camera 0") as camera:
        assert (camera.size, camera.rate, camera.expected) == ((48, 64), 25, None)
        frames = list(camera)
    assert [frame.index for frame in frames] == list(range(4))
    times = [frame.time for frame in frames]
    assert times[0] == 0
    assert times == sorted(times)
    for k, frame in enumerate(frames):
        assert np.median(np.abs(frame.pixels.astype(int) - np.asarray(picture(k)).astype(int))) < 8
    assert not capture.isOpened()


def test_a_camera_without_a_picture_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").write_bytes(b"")
    with pytest.raises(UserError, match="camera 3: gives no picture"):
        CameraReader(cv2.VideoCapture(str(tmp_path / "empty.mp4")), "camera 3")


def test_a_camera_that_is_not_there_is_an_error() -> None:
    with pytest.raises(UserError, match=r"camera 9876: there is no such camera.*The system has"):
        open_camera(9876)


def test_addresses_of_cameras() -> None:
    assert [camera_index(text) for text in ("camera:0", "camera:12", "pipe:0", "0")] == [0, 12, None, None]


def test_without_opencv_cameras_are_refused_before_the_model_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(UserError, match=r"pip install .*\.\[camera\]"):
        predict(tmp_path / "no model", ["0"], tmp_path / "out")
