"""Videos frame by frame: every frame once, upright, with its time; unreadable files named, damaged packets skipped."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Generator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from codetr.core.errors import UserError
from codetr.inference.streams.video import VideoReader, VideoWriter
from tests.support.data.clips import picture, write_clip
from tests.support.models.finder import Finder


@pytest.mark.parametrize("name", ["clip.mp4", "clip.mkv", "clip.ts"])
def test_frames_come_in_order_with_their_times(tmp_path: Path, name: str) -> None:
    """Codecs store frames in another order than they are shown, and some containers do not start at time 0."""
    with VideoReader(write_clip(tmp_path / name, 12)) as reader:
        assert (reader.size, reader.rate, reader.expected) == ((48, 64), 25, 12)
        frames = list(reader)
    assert [frame.index for frame in frames] == list(range(12))
    assert np.allclose([frame.time for frame in frames], np.arange(12) / 25, atol=2e-3)
    for k, frame in enumerate(frames):
        assert frame.pixels.dtype == np.uint8
        difference = np.abs(frame.pixels.astype(int) - np.asarray(picture(k)).astype(int))
        assert np.median(difference) < 8


def test_a_video_that_lies_on_its_side_is_turned_upright(tmp_path: Path) -> None:
    """Phones write rotated frames, in which detectors find little."""
    with VideoReader(write_clip(tmp_path / "clip.mp4", 2, rotation=90)) as reader:
        assert reader.size == (64, 48)
        frame = next(iter(reader))
    upright = np.asarray(picture(0).rotate(90, expand=True))
    assert np.median(np.abs(frame.pixels.astype(int) - upright.astype(int))) < 8


def test_only_the_current_frames_are_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A film takes 200 GB of memory, and a stream has no end."""
    finder = Finder()
    results = finder.predict_video(write_clip(tmp_path / "clip.mp4", 30), batch_size=2)
    first = list(itertools.islice(results, 3))
    assert [len(batch) for batch in finder.seen] == [2, 2]
    assert isinstance(results, Generator)
    results.close()
    assert [(result.frame, round(result.time or 0.0, 3)) for result in first] == [(0, 0.0), (1, 0.04), (2, 0.08)]
    assert first[0].size == (48, 64)
    assert first[0].draw().size == (64, 48)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "cannot be read as a video: No such file"),
        (b"", "cannot be read as a video: Invalid data"),
        (b"<html>404</html>" * 50, "cannot be read as a video: Invalid data"),
        ("cut", "cannot be read as a video: Invalid data"),
        ("sound", "holds no frame"),
    ],
)
def test_invalid_videos_are_named(tmp_path: Path, content: bytes | str | None, said: str) -> None:
    path = tmp_path / "clip.mp4"
    if content == "cut":
        path.write_bytes(write_clip(tmp_path / "whole.mp4", 5).read_bytes()[:600])
    elif content == "sound":
        write_clip(path, 0, sound=True)
    elif isinstance(content, bytes):
        path.write_bytes(content)
    with pytest.raises(UserError, match=rf"clip\.mp4: {said}"):
        next(Finder().predict_video(path))


def test_damaged_packets_are_skipped_with_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """One damaged packet does not cost an hour of video."""
    path = write_clip(tmp_path / "clip.mp4", 60)
    content = bytearray(path.read_bytes())
    start, length = len(content) // 3, len(content) // 20
    content[start : start + length] = np.random.default_rng(0).bytes(length)
    path.write_bytes(content)
    with caplog.at_level(logging.WARNING), VideoReader(path) as reader:
        frames = list(reader)
    assert 20 < len(frames) < 60
    assert frames[-1].time > 2.0
    assert "damaged packets" in caplog.text


def test_without_pyav_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "av", None)
    with pytest.raises(UserError, match=r"need the package av.*pip install .* -e \"\.\[video\]\""):
        VideoReader(tmp_path / "clip.mp4")


def test_written_pictures_are_shown_at_their_times(tmp_path: Path) -> None:
    """A constant rate would shift the frames of a video with a variable rate; broken videos may repeat times."""
    times = [0.0, 0.04, 0.05, 0.3, 0.3, 1.0]
    with VideoWriter(tmp_path / "out.mp4", Fraction(30000, 1001)) as writer:
        for k, time in enumerate(times):
            writer.write(Image.new("RGB", (33, 47), (40 * k, 0, 0)), time)
    with VideoReader(tmp_path / "out.mp4") as reader:
        frames = list(reader)
    assert frames[0].pixels.shape == (48, 34, 3)  # even sides
    assert np.allclose([frame.time for frame in frames], times, atol=1e-3)
    assert np.allclose([frame.pixels[20, 20, 0] for frame in frames], [40 * k for k in range(6)], atol=6)
