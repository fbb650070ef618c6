"""`convert`: its report, its options, what it refuses. The numbers are in tests/reference."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
from PIL import Image

from codetr import zoo
from codetr.cli import main
from codetr.core.errors import UserError
from codetr.inference.predict_files import predict
from codetr.models.detector import build_detector
from codetr.weights.model_folder import load_model, read_info
from codetr.weights.official.checkpoint_file import read_checkpoint
from codetr.weights.official.convert import convert, write_official
from codetr.weights.official.identify import from_recipe
from codetr.weights.official.key_names import to_official
from tests.support.models.official_files import CLASSIFIER, write_checkpoint
from tests.support.models.small_models import write_model


@pytest.fixture(scope="module")
def weights() -> dict[str, torch.Tensor]:
    """Official weights of the tiny recipe with three classes."""
    torch.manual_seed(0)
    detector = build_detector(from_recipe(zoo.recipe("tiny"), 3).model)
    return {name: value.detach() for name, value in to_official(detector).items()}


@pytest.fixture(scope="module")
def checkpoint(weights: dict[str, torch.Tensor], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("official") / "x.pth", weights, averages=True, optimizer=True)


def call(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    code = ended.value.code
    return (0 if code is None else int(code)), out, err


def test_the_report_covers_every_key(capsys: pytest.CaptureFixture[str], checkpoint: Path, tmp_path: Path) -> None:
    code, out, _ = call(capsys, "convert", checkpoint, "-o", tmp_path / "model")
    assert code == 0
    rows = dict(line.split("  ", 1) for line in out.splitlines() if "  " in line)
    report = {name: value.strip() for name, value in rows.items()}
    keys = len(torch.load(checkpoint, weights_only=True)["state_dict"]) // 2
    assert report["configuration"].startswith("recipe tiny")
    assert report["classes"] == "3, the checkpoint"
    assert report["keys converted"] == str(keys)
    assert report["keys missing"] == report["keys unexpected"] == "none"
    assert report["averages skipped"].startswith(f"{keys}: ema_")
    assert report["other content skipped"] == "optimizer, meta.epoch, meta.mmdet_version"


def test_what_was_converted_predicts(checkpoint: Path, tmp_path: Path) -> None:
    convert(checkpoint, tmp_path / "model")
    (tmp_path / "in").mkdir()
    Image.new("RGB", (60, 40), "red").save(tmp_path / "in" / "a.png")
    result = predict(tmp_path / "model", [tmp_path / "in"], tmp_path / "out", threshold=0.0)
    assert {entry.name for entry in result.images[0].detections} <= {"thing 0", "thing 1", "thing 2"}
    assert result.images[0].detections


def test_the_same_file_gives_the_same_folder(checkpoint: Path, tmp_path: Path) -> None:
    """Nothing in it depends on the time of the conversion or on its folder."""
    contents = []
    for name in ("a", "b"):
        convert(checkpoint, tmp_path / name)
        contents.append({path.name: path.read_bytes() for path in (tmp_path / name).iterdir()})
    assert contents[0] == contents[1]


def test_settings_and_class_names_can_be_given(
    capsys: pytest.CaptureFixture[str], checkpoint: Path, tmp_path: Path
) -> None:
    (tmp_path / "names.txt").write_text("cat\ndog\nfish\n")
    arguments = ("--classes", tmp_path / "names.txt", "--set", "preprocess.short_side=99", "--recipe", "tiny")
    assert call(capsys, "convert", checkpoint, "-o", tmp_path / "model", *arguments)[0] == 0
    info = read_info(tmp_path / "model")
    assert info.class_names == ("cat", "dog", "fish")
    assert info.preprocess.short_side == 99
    assert info.recipe == "tiny"


def test_classes_without_names_are_warned_about(
    capsys: pytest.CaptureFixture[str], weights: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    torch.save(weights, tmp_path / "plain.pth")
    _, out, _ = call(capsys, "convert", tmp_path / "plain.pth", "-o", tmp_path / "model")
    assert "only numbered" in out
    assert read_info(tmp_path / "model").class_names[2] == "class 2"


def test_half_precision_and_constants(weights: dict[str, torch.Tensor], tmp_path: Path) -> None:
    torch.save({name: value.half() for name, value in weights.items()}, tmp_path / "half.pth")
    convert(tmp_path / "half.pth", tmp_path / "model")
    detector, _ = load_model(tmp_path / "model")
    assert {parameter.dtype for parameter in detector.parameters()} == {torch.float32}
    assert torch.equal(to_official(detector)[CLASSIFIER], weights[CLASSIFIER].half().float())


def test_another_recipes_weights_are_refused_with_every_key(
    capsys: pytest.CaptureFixture[str], checkpoint: Path, tmp_path: Path
) -> None:
    arguments = ("--recipe", "co_dino_5scale_r50_1x_coco", "-o", tmp_path / "model")
    code, _, err = call(capsys, "convert", checkpoint, *arguments)
    assert code == 2
    assert "missing: query_head.transformer.encoder.layers.5.norms.1.weight" in err
    assert "shape of neck.convs.0.conv.weight" in err
    assert not (tmp_path / "model").exists()


def test_a_missing_and_an_unknown_key_are_named(weights: dict[str, torch.Tensor], tmp_path: Path) -> None:
    changed = {name: value for name, value in weights.items() if name != "rpn_head.rpn_cls.bias"}
    write_checkpoint(tmp_path / "x.pth", changed | {"ema_rpn_head_rpn_cls_bias": torch.ones(9)})
    with pytest.raises(UserError) as caught:
        convert(
            tmp_path / "x.pth", tmp_path / "model", config_source=lambda count: from_recipe(zoo.recipe("tiny"), count)
        )
    assert "missing: rpn_head.rpn_cls.bias" in str(caught.value)
    assert "unexpected: ema_rpn_head_rpn_cls_bias" in str(caught.value)
    assert "2 keys do not fit" in str(caught.value)


def test_only_an_earlier_model_is_replaced(checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_text("dear")
    with pytest.raises(UserError, match="is not empty and no earlier model"):
        convert(checkpoint, tmp_path / "photos")
    convert(checkpoint, tmp_path / "model")
    convert(checkpoint, tmp_path / "model")
    inside = tmp_path / "model" / "x.pth"
    inside.write_bytes(checkpoint.read_bytes())
    with pytest.raises(UserError, match="is inside the output folder"):
        convert(inside, tmp_path / "model")
    assert inside.exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["x.pth", "--recipe", "tiny", "--config", "c.json"], "--config: cannot be used together with --recipe"),
        (["x.pth", "--config", "c.py"], r"c\.py: is Python code, which is not executed"),
        (["x.pth", "--config", "list.json"], r"list\.json: is not a configuration"),
        (["x.pth", "--config", "none.json"], r"none\.json: no such file"),
        (["x.pth", "--recipe", "none"], "no recipe 'none'"),
        (["none.pth"], r"none\.pth: no such file"),
        (["x.pth", "--set", "preprocess.short=3"], "'preprocess.short' does not exist"),
        (["--to-official", "x", "--recipe", "tiny"], "--recipe: cannot be used with --to-official"),
    ],
    ids=str,
)
def test_mistakes_are_named(
    capsys: pytest.CaptureFixture[str],
    checkpoint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.pth").write_bytes(checkpoint.read_bytes())
    (tmp_path / "c.py").write_text("open('executed', 'w')")
    (tmp_path / "list.json").write_text("[1]")
    code, _, err = call(capsys, "convert", *arguments, "-o", "out")
    assert code == 2
    assert re.search(message, err.replace("\n", " ")), err
    assert not (tmp_path / "executed").exists()
    assert not (tmp_path / "out").exists()


# To the official format


def test_an_official_file_is_the_same_each_time_and_has_float32_weights_in_the_official_order(tmp_path: Path) -> None:
    model = write_model(tmp_path / "model")
    for name in ("a.pth", "b.pth"):
        write_official(model, tmp_path / name)
    assert (tmp_path / "a.pth").read_bytes() == (tmp_path / "b.pth").read_bytes()
    content = torch.load(tmp_path / "a.pth", weights_only=True)
    assert content["meta"]["CLASSES"] == ("square", "disc", "cross")
    keys = list(content["state_dict"])
    assert keys == list(to_official(load_model(model)[0]))
    assert all(value.dtype in (torch.float32, torch.int64) for value in content["state_dict"].values())


def test_only_an_earlier_official_file_is_replaced(tmp_path: Path) -> None:
    model, other = write_model(tmp_path / "model"), tmp_path / "other.pth"
    torch.save({"meta": {}, "state_dict": {"a": torch.ones(1)}}, other)
    before = other.read_bytes()
    for path in (other, tmp_path):
        with pytest.raises(UserError, match="was not written by codetr"):
            write_official(model, path)
    assert other.read_bytes() == before
    write_official(model, tmp_path / "x.pth")
    write_official(model, tmp_path / "x.pth")


def test_a_model_of_no_recipe_is_read_back_without_options(tmp_path: Path) -> None:
    model = write_model(tmp_path / "model")
    write_official(model, tmp_path / "x.pth")
    convert(tmp_path / "x.pth", tmp_path / "back")
    assert json.loads((tmp_path / "back/model.json").read_text()) == json.loads((model / "model.json").read_text())
    first, second = load_model(model)[0].state_dict(), load_model(tmp_path / "back")[0].state_dict()
    assert all(torch.equal(first[name], value) for name, value in second.items())
    assert read_checkpoint(tmp_path / "x.pth").averages == ()
