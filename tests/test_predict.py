"""`predict` on files and folders: what is read, what is written, and what is never touched."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from codetr.data.segmentation import decode
from codetr.errors import UserError
from codetr.predict import predict
from tests.evaluation.small import NAMES, masked, write_images, write_model


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model") / "model")


def test_files_and_folders_become_detections_and_pictures(model: Path, tmp_path: Path) -> None:
    """Folders are searched deeply and in order; boxes are in pixels of the image; every image has its picture."""
    sizes = write_images(tmp_path / "in/deeper", 2)
    Image.new("RGB", (33, 44)).save(tmp_path / "in/z.PNG")
    (tmp_path / "in/notes.txt").write_text("not an image, and not taken for one")
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
    """Names from outside must not name a path outside the folder, collide, or be too long to write."""
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
    with pytest.raises(UserError, match=r"broken\.jpg: none of 1 images can be read; the first is empty"):
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
    """The output replaces a folder as a whole: pointed at a folder of photographs it would delete them."""
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
    """The masks of the listed detections, in pixels of the image; a model of boxes writes none."""
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
