"""The command show: what it draws, from datasets and annotation files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from codetr.data.synthetic import ANNOTATIONS
from tests.support.command import call


def test_labels_of_a_dataset_and_of_an_annotation_file(
    capsys: pytest.CaptureFixture[str], dataset: Path, drawn: Path, tmp_path: Path
) -> None:
    code, out, _ = call(capsys, "show", dataset, "-o", tmp_path / "a.html", "--split", "val", "--limit", 3)
    assert code == 0
    assert "3 of 5 images of the split 'val'" in out
    assert (tmp_path / "a.html").read_text().count("<figure>") == 3
    file = drawn / "train" / ANNOTATIONS
    code, _, err = call(
        capsys, "show", file, "--images", drawn / "train/images", "-o", tmp_path / "b", "--class", "star", "--limit", 2
    )
    assert code == 0, err
    assert len(list((tmp_path / "b").glob("*.jpg"))) == 2


def test_what_is_wrong_with_annotations_is_said(
    capsys: pytest.CaptureFixture[str], drawn: Path, tmp_path: Path
) -> None:
    """The pictures of boxes that are read in a wrong format look as if the labels were bad."""
    content = json.loads((drawn / "train" / ANNOTATIONS).read_text())
    for annotation in content["annotations"]:
        x, y, width, height = annotation["bbox"]
        annotation["bbox"] = [x, y, x + width, y + height]
        del annotation["segmentation"], annotation["area"]
    (tmp_path / "corners.json").write_text(json.dumps(content))
    given = ("show", tmp_path / "corners.json", "-o", tmp_path / "a.png", "--images")
    code, out, err = call(capsys, *given, drawn / "train/images")
    assert code == 0, err
    assert "boxes_are_corners" in out
    code, _, err = call(capsys, *given, tmp_path)
    assert code == 2
    assert f"Is {tmp_path} the right folder?" in err
    assert "max_lost_images" not in err


def test_training_batches(capsys: pytest.CaptureFixture[str], dataset: Path, tmp_path: Path) -> None:
    code, out, err = call(
        capsys, "show", dataset, "-o", tmp_path / "a.png", "--augmented", "--recipe", "tiny", "--limit", 4
    )
    assert code == 0, err
    assert "4 images of training batches" in out
    with Image.open(tmp_path / "a.png") as sheet:
        assert sheet.width > 1000


def test_the_recipe_of_a_params_file_with_the_dataset_of_the_command_line(
    capsys: pytest.CaptureFixture[str], dataset: Path, tmp_path: Path
) -> None:
    """A params file names sources and a recipe: the batches are those of the dataset that is named."""
    params = tmp_path / "params.yaml"
    params.write_text("prepare: {train: {annotations: nowhere.json}}\ntrain: {recipe: tiny}\n")
    output = tmp_path / "a.html"
    options = "-o", output, "--params", params
    code, _, err = call(capsys, "show", dataset, *options, "--augmented", "--limit", 2)
    assert code == 0, err
    assert output.read_text().count("<figure>") == 2
    code, _, err = call(capsys, "show", dataset, *options)
    assert code == 2
    assert "both a dataset and a params file, which names annotations, are named" in err


@pytest.mark.parametrize("options", [[], ["--augmented", "--recipe", "tiny"]], ids=["labels", "batches"])
def test_a_limit_beyond_the_images_of_the_split_is_no_limit(
    capsys: pytest.CaptureFixture[str], dataset: Path, tmp_path: Path, options: list[str]
) -> None:
    """The limit was counted, not the pictures: a page of twenty was refused as one of 300."""
    code, out, err = call(capsys, "show", dataset, "-o", tmp_path / "a.html", "--limit", 300, *options)
    assert code == 0, err
    shown = (tmp_path / "a.html").read_text().count("<figure>")
    assert 0 < shown < 100
    assert out.startswith(str(shown))


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--augmented"], "no recipe is named"),
        (["--augmented", "--recipe", "tiny", "--class", "star"], "--class: cannot be combined with --augmented"),
        (["--augmented", "--recipe", "tiny", "--split", "val"], "'val' is not augmented"),
        (["--augmented", "--recipe", "tinny"], "Did you mean 'tiny'?"),
        (["--augmented", "--recipe", "tiny", "--set", "augment.mosaik={}"], "augment.mosaic"),
        (["--augmented", "--recipe", "tiny", "--set", "loader.batch_size=auto"], "is chosen when training starts"),
        (["--recipe", "tiny"], "--recipe: needs --augmented"),
        (["--set", "augment.mosaic={}"], "--set: needs --augmented"),
        (["--split", "trian"], "has no split 'trian'"),
        (["--class", "Star"], "Did you mean 'star'?"),
        (["--limit", "0"], "--limit"),
    ],
)
def test_mistakes_say_what_to_do_and_write_nothing(
    capsys: pytest.CaptureFixture[str], dataset: Path, tmp_path: Path, options: list[str], problem: str
) -> None:
    code, _, err = call(capsys, "show", dataset, "-o", tmp_path / "a.html", *options)
    assert code == 2
    assert problem in err
    assert not list(tmp_path.iterdir())
