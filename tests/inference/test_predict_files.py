"""`predict` on files and folders: what is read, what is written, and what is never touched."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path

import pytest
from PIL import Image

from codetr.core.errors import UserError
from codetr.data.segmentation import decode
from codetr.inference.config import TilesConfig, TTAConfig
from codetr.inference.predict_files import predict
from codetr.inference.sources import find_sources
from codetr.inference.streams.video import VideoReader, VideoWriter
from tests.support.data.clips import write_clip
from tests.support.models.small_models import NAMES, masked, write_images, write_model
from tests.support.registry.registries import write_registry
from tests.support.unprivileged import unprivileged_folder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model") / "model")


def test_files_and_folders_become_detections_and_pictures(model: Path, tmp_path: Path) -> None:
    """Folders are searched recursively in order; boxes are in pixels of the image; every image has a drawn picture."""
    sizes = write_images(tmp_path / "in/deeper", 2)
    Image.new("RGB", (33, 44)).save(tmp_path / "in/z.PNG")
    (tmp_path / "in/notes.txt").write_text("not an image")
    result = predict(model, [tmp_path / "in"], tmp_path / "out", threshold=0.0)
    assert [Path(image.file).name for image in result.images] == ["z.PNG", "0.png", "1.png"]
    assert [(image.height, image.width) for image in result.images] == [(44, 33), *sizes]
    assert result.skipped == []
    for image in result.images:
        assert image.detections
        scores = [entry.score for entry in image.detections]
        assert scores == sorted(scores, reverse=True)
        for entry in image.detections:
            assert NAMES[entry.label] == entry.name
            x, y, width, height = entry.bbox
            assert -0.01 <= x <= x + width <= image.width + 0.01
            assert -0.01 <= y <= y + height <= image.height + 0.01
        with Image.open(tmp_path / "out" / image.picture) as picture:
            assert max(picture.size) > 200
    written = json.loads((tmp_path / "out/predictions.json").read_text())
    assert written["classes"] == list(NAMES)
    assert [image["picture"] for image in written["images"]] == [image.picture for image in result.images]


def test_the_threshold_decides_what_is_listed(model: Path, tmp_path: Path) -> None:
    write_images(tmp_path / "in", 1)
    (everything,) = predict(model, [tmp_path / "in"], tmp_path / "a", threshold=0.0).images
    middle = everything.detections[len(everything.detections) // 2].score
    (some,) = predict(model, [tmp_path / "in"], tmp_path / "b", threshold=middle).images
    assert some.detections == [entry for entry in everything.detections if entry.score >= middle]


def test_names_with_odd_characters_are_kept_in_the_list_and_safe_in_pictures(model: Path, tmp_path: Path) -> None:
    """File names of inputs neither escape the folder, nor collide, nor exceed the limit of the file system."""
    folder = tmp_path / "in"
    folder.mkdir()
    names = ["..jpg", "a b'\"&#;.jpg", "a_b_.jpg", "日本.jpg", "-rf.jpg", "x" * 240 + ".jpg", "new\nline.jpg"]
    for name in names:
        Image.new("RGB", (8, 8)).save(folder / name, format="PNG")
    result = predict(model, [folder / name for name in names], tmp_path / "out")
    assert [Path(image.file).name for image in result.images] == names
    pictures = [image.picture for image in result.images]
    assert len(set(pictures)) == len(names)
    assert all(picture.isascii() and picture.count("/") == 1 and len(picture) < 110 for picture in pictures)
    assert sorted(path.name for path in (tmp_path / "out/pictures").iterdir()) == sorted(p[9:] for p in pictures)


def test_an_unreadable_image_is_reported_and_the_others_go_on(model: Path, tmp_path: Path) -> None:
    write_images(tmp_path / "in", 1)
    (tmp_path / "in/broken.jpg").write_bytes(b"<html>404</html>")
    result = predict(model, [tmp_path / "in"], tmp_path / "out")
    assert [Path(entry.file).name for entry in result.skipped] == ["broken.jpg"]
    assert "not an image" in result.skipped[0].reason
    assert len(result.images) == 1


def test_nothing_readable_is_an_error_and_writes_nothing(model: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"")
    with pytest.raises(UserError, match=r"broken\.jpg: is empty"):
        predict(model, [tmp_path / "broken.jpg"], tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("source", "problem"), [("missing.jpg", "no such file"), ("empty", "no images")])
def test_sources_without_images_are_refused(model: Path, tmp_path: Path, source: str, problem: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=problem):
        predict(model, [tmp_path / source], tmp_path / "out")


def test_an_image_given_twice_is_read_once(model: Path, tmp_path: Path) -> None:
    write_images(tmp_path / "in", 1)
    (tmp_path / "in/link.png").symlink_to(tmp_path / "in/0.png")
    (tmp_path / "in/loop").symlink_to(tmp_path / "in")
    result = predict(model, [tmp_path / "in", tmp_path / "in/0.png"], tmp_path / "out")
    assert len(result.images) == 1


def test_an_output_folder_with_other_things_in_it_is_left_alone(model: Path, tmp_path: Path) -> None:
    """The output replaces the whole folder: a folder of photographs would be deleted."""
    write_images(tmp_path / "photos", 1)
    for output in (tmp_path / "photos", tmp_path / "photos/0.png"):
        with pytest.raises(UserError, match=r"not empty|is a file"):
            predict(model, [tmp_path / "photos"], output)
    assert [path.name for path in (tmp_path / "photos").iterdir()] == ["0.png"]


def test_an_earlier_output_is_replaced_unless_its_pictures_are_the_input(model: Path, tmp_path: Path) -> None:
    write_images(tmp_path / "in", 2)
    predict(model, [tmp_path / "in"], tmp_path / "out")
    with pytest.raises(UserError, match="would be replaced"):
        predict(model, [tmp_path / "out"], tmp_path / "out")
    predict(model, [tmp_path / "in/1.png"], tmp_path / "out")
    assert [path.name for path in (tmp_path / "out/pictures").iterdir()] == ["00001_1.jpg"]


@pytest.mark.parametrize("threshold", [-0.1, 1.5, float("nan")])
def test_a_threshold_outside_the_range_of_scores_is_refused(model: Path, tmp_path: Path, threshold: float) -> None:
    with pytest.raises(UserError, match=r"not in \[0, 1\]"):
        predict(model, [tmp_path], tmp_path / "out", threshold=threshold)


def test_a_model_with_masks_writes_and_draws_them(model: Path, tmp_path: Path) -> None:
    """The masks of the listed detections, in pixels of the image; a model without masks writes none."""
    write_images(tmp_path / "in", 1)
    with_masks = write_model(tmp_path / "model", **masked())
    (image,) = predict(with_masks, [tmp_path / "in"], tmp_path / "out", threshold=0.0).images
    assert image.detections
    for entry in image.detections:
        assert entry.segmentation is not None
        assert entry.mask_score == entry.score
        assert decode(entry.segmentation, image.height, image.width).shape == (image.height, image.width)
    written = json.loads((tmp_path / "out/predictions.json").read_text())
    assert written["images"][0]["detections"][0]["segmentation"]["size"] == [image.height, image.width]
    (boxes,) = predict(model, [tmp_path / "in"], tmp_path / "boxes", threshold=0.0).images
    assert {entry.segmentation for entry in boxes.detections} == {None}


def test_videos_become_drawn_videos_and_a_line_for_every_frame(model: Path, tmp_path: Path) -> None:
    write_images(tmp_path / "in", 1)
    clip = write_clip(tmp_path / "a clip.mp4", 5)
    result = predict(model, [tmp_path / "in", clip], tmp_path / "out", threshold=0.0)
    (video,) = result.videos
    assert (video.width, video.height, video.frames, video.rate) == (64, 48, 5, 25.0)
    assert len(result.images) == 1
    lines = [json.loads(line) for line in (tmp_path / "out" / video.lines).read_text().splitlines()]
    assert [line["frame"] for line in lines] == list(range(5))
    assert [round(line["time"], 3) for line in lines] == [0.0, 0.04, 0.08, 0.12, 0.16]
    assert sum(len(line["detections"]) for line in lines) == video.objects > 0
    assert result.objects == video.objects + len(result.images[0].detections)
    with VideoReader(tmp_path / "out" / video.video) as reader:
        frames = list(reader)
    assert len(frames) == 5
    assert frames[0].pixels.shape == (48, 64, 3)
    written = json.loads((tmp_path / "out/predictions.json").read_text())
    assert written["videos"][0]["lines"] == "videos/00001_a_clip.jsonl"
    again = predict(model, [clip], tmp_path / "out", frames=2)
    assert again.videos[0].frames == 2
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"predictions.json", "videos"}


def test_a_video_comes_from_standard_input_too(model: Path, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mkv", 3)
    command = [sys.executable, "-m", "codetr", "predict", "-", "-m", str(model), "-o", str(tmp_path / "out")]
    with clip.open("rb") as stream:
        subprocess.run(command, stdin=stream, check=True, capture_output=True)
    written = json.loads((tmp_path / "out/predictions.json").read_text())
    assert [(video["file"], video["frames"]) for video in written["videos"]] == [("pipe:0", 3)]


def test_a_broken_video_is_an_error_and_among_others_skipped(model: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.mp4").write_bytes(b"")
    with pytest.raises(UserError, match=r"broken\.mp4: cannot be read as a video"):
        predict(model, [tmp_path / "broken.mp4"], tmp_path / "out")
    assert not (tmp_path / "out").exists()
    clip = write_clip(tmp_path / "clip.mp4", 2)
    result = predict(model, [tmp_path / "broken.mp4", clip], tmp_path / "out")
    assert [Path(entry.file).name for entry in result.skipped] == ["broken.mp4"]
    assert [video.frames for video in result.videos] == [2]


def test_an_interrupted_video_leaves_nothing_behind(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half a video would look complete."""
    clip = write_clip(tmp_path / "in/clip.mp4", 5)

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(VideoWriter, "write", interrupt)
    with pytest.raises(KeyboardInterrupt):
        predict(model, [clip], tmp_path / "out/here")
    assert list((tmp_path / "out").iterdir()) == []


def interrupt_at(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, frame: int) -> None:
    """Press Ctrl-C while the drawn picture of a frame is written."""
    written = count()
    write = VideoWriter.write
    # Programs that a script starts in the background ignore Ctrl-C.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, before))

    def interrupted(writer: VideoWriter, picture: Image.Image, time: float) -> None:
        if next(written) == frame:
            signal.raise_signal(signal.SIGINT)
        write(writer, picture, time)

    monkeypatch.setattr(VideoWriter, "write", interrupted)


@contextmanager
def served(clip: Path) -> Iterator[str]:
    """Yield an address at which a video is sent to the first who connects."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def send() -> None:
            connection, _ = server.accept()
            with connection, suppress(OSError):
                connection.sendall(clip.read_bytes())

        thread = threading.Thread(target=send, daemon=True)
        thread.start()
        yield f"tcp://127.0.0.1:{server.getsockname()[1]}"
        thread.join(10)


def test_ctrl_c_ends_a_stream_after_the_frame_and_keeps_its_frames(
    request: pytest.FixtureRequest, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stream or camera has no end: what was detected for hours would be lost.

    The frame is written to all files or to none, and no further source is begun.
    """
    clip = write_clip(tmp_path / "in/clip.h264", 6)  # it does not say how long it is
    interrupt_at(request, monkeypatch, 2)
    handler = signal.getsignal(signal.SIGINT)
    with served(clip) as address:
        result = predict(model, [address, clip], tmp_path / "out", formats=["csv"], threshold=0.0)
    assert signal.getsignal(signal.SIGINT) == handler
    (video,) = result.videos
    assert (video.file, video.frames) == (address, 3)
    assert len((tmp_path / "out" / video.lines).read_text().splitlines()) == 3
    assert len((tmp_path / "out/detections.csv").read_text().splitlines()) == 1 + video.objects
    with VideoReader(tmp_path / "out" / video.video) as reader:
        assert len(list(reader)) == 3


@pytest.mark.parametrize("prefix", ["", "file://"])
def test_ctrl_c_on_a_file_of_unknown_length_leaves_the_earlier_output(
    request: pytest.FixtureRequest, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, prefix: str
) -> None:
    """Half of the file would replace it, with exit code 0."""
    clip = write_clip(tmp_path / "in/clip.h264", 4).rename(tmp_path / "in/clip.ts")
    predict(model, [clip], tmp_path / "out", frames=1)
    interrupt_at(request, monkeypatch, 1)
    with pytest.raises(KeyboardInterrupt):
        predict(model, [f"{prefix}{clip}"], tmp_path / "out")
    assert json.loads((tmp_path / "out/predictions.json").read_text())["videos"][0]["frames"] == 1


def test_videos_without_pyav_are_refused_before_anything_is_done(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = write_clip(tmp_path / "clip.mp4", 1)
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(UserError, match=r"pip install .* -e \"\.\[video\]\""):
        predict(tmp_path / "no model", [clip], tmp_path / "out")


def test_tiles_and_test_time_augmentation_are_options(model: Path, tmp_path: Path) -> None:
    """They change the detections; nothing else would show that they are ignored."""
    write_images(tmp_path / "in", 1)
    scores = []
    for tta, tiles in ((None, None), (TTAConfig(), None), (None, TilesConfig(size=32))):
        result = predict(model, [tmp_path / "in"], tmp_path / "out", threshold=0.0, tta=tta, tiles=tiles)
        scores.append([entry.score for entry in result.images[0].detections])
    assert scores[0] != scores[1]
    assert len(scores[2]) > len(scores[0])


def test_a_version_in_a_registry_is_a_model(model: Path, tmp_path: Path) -> None:
    write_images(tmp_path / "in", 1)
    registry = write_registry(tmp_path / "r", model)
    assert predict(f"{registry}@champion", [tmp_path / "in"], tmp_path / "out").recipe == "small"


def test_pipes_are_skipped_in_folders_and_refused_by_name(model: Path, tmp_path: Path) -> None:
    """Opening one waits until something writes to it, so `predict` never ended."""
    write_images(tmp_path / "in", 1)
    for name in ("a.jpg", "a.mp4"):
        os.mkfifo(tmp_path / "in" / name)
    (tmp_path / "in" / "loop.jpg").symlink_to("loop.jpg")
    result = predict(model, [tmp_path / "in"], tmp_path / "out")
    assert len(result.images) == 1
    assert {Path(entry.file).name: entry.reason for entry in result.skipped} == {
        "a.jpg": "is not a regular file",
        "loop.jpg": "cannot be read: too many levels of symbolic links",
    }
    for name in ("a.jpg", "a.mp4"):
        with pytest.raises(UserError, match="is neither a folder nor a regular file"):
            predict(model, [tmp_path / "in" / name], tmp_path / "other")
    for name in ("x" * 300, "a\0b"):
        with pytest.raises(UserError, match="no such file or folder"):
            predict(model, [name], tmp_path / "other")


@pytest.mark.parametrize(
    "address",
    ["https://example.org/a.JPG", "http://example.org/a.png?width=9#x", "s3://bucket/a.tif", "FILE:///a.webp"],
)
def test_the_address_of_an_image_says_to_download_it(model: Path, tmp_path: Path, address: str) -> None:
    """It was opened as a video: the error was about FFmpeg or a package for videos."""
    with pytest.raises(UserError, match=r"is an address, not a file\. Download the image"):
        predict(model, [address], tmp_path / "out")


def test_the_limit_of_pixels_is_an_argument(model: Path, tmp_path: Path) -> None:
    """Tiles are for images that are larger than the default limit."""
    ((height, width),) = write_images(tmp_path / "in", 1)
    assert predict(model, [tmp_path / "in"], tmp_path / "a", max_pixels=height * width).images
    with pytest.raises(UserError, match=f"has more than {height * width - 1:,} pixels"):
        predict(model, [tmp_path / "in"], tmp_path / "b", max_pixels=height * width - 1)


def test_an_image_in_a_folder_that_may_not_be_entered_is_not_missing() -> None:
    with unprivileged_folder() as folder:
        (folder / "private").mkdir()
        (folder / "private" / "a.jpg").touch()
        (folder / "private").chmod(0)
        with pytest.raises(PermissionError, match=r"private/a\.jpg"):
            find_sources([folder / "private" / "a.jpg"])
        (folder / "private").chmod(0o700)
