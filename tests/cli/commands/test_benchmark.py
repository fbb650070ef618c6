"""The command benchmark: its table, its file, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.command import call
from tests.support.models.small_models import masked, write_images, write_model


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model") / "model", **masked())


def test_every_size_and_batch_is_measured_and_written(
    capsys: pytest.CaptureFixture[str], model: Path, tmp_path: Path
) -> None:
    """Parts that do not add up to the whole, or rows that are mixed up, mislead."""
    options = ["--size", "64x48", "--size", "40x80", "--batch", 1, "--batch", 2, "--repeat", 2, "--warmup", 1]
    file = tmp_path / "a.json"
    code, out, err = call(capsys, "benchmark", "-m", model, *options, "--score", 0, "--device", "cpu", "-o", file)
    assert code == 0, err
    values = json.loads(file.read_text())
    rows = values["measurements"]
    assert [(row["size"], row["input"], row["batch"]) for row in rows] == [
        ("64x48", "85x64", 1),
        ("64x48", "85x64", 2),
        ("40x80", "48x96", 1),
        ("40x80", "48x96", 2),
    ]
    for row in rows:
        latency = row["latency_ms"]
        parts = row["preprocess_ms"] + row["model_ms"] + row["postprocess_ms"]
        assert parts == pytest.approx(latency["mean"])
        assert 0 < latency["p50"] <= latency["p90"] <= latency["p99"] <= latency["max"]
        assert row["images_per_second"] == pytest.approx(1000 * row["batch"] / latency["mean"])
        assert row["detections"] > 0
        assert row["peak_memory"] > 1 << 26
    assert values["command"][:3] == ["codetr", "benchmark", "-m"]
    assert values["machine"]["device"] == "cpu"
    assert values["machine"]["versions"]["torch"]
    lines = [line for line in out.splitlines() if line.startswith(("64x48", "40x80"))]
    assert len(lines) == 4


def test_images_of_files(capsys: pytest.CaptureFixture[str], model: Path, tmp_path: Path) -> None:
    write_images(tmp_path / "in", 3)
    code, out, err = call(
        capsys, "benchmark", "-m", model, "--image", tmp_path / "in", "--repeat", 1, "--warmup", 0, "--batch", 2
    )
    assert code == 0, err
    assert "files" in out


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--size", "64"], "'64' is no size"),
        (["--size", "0x5"], "'0x5' is no size"),
        (["--size", "99999x99999"], "has more than"),
        (["--size", "64x64", "--image", "a.jpg"], "cannot be combined with --image"),
        (["--image", "nowhere.jpg"], "no such file or folder"),
        (["--precision", "bf16", "--device", "cpu"], "'bf16' needs a GPU"),
        (["--precision", "fp64"], "--precision"),
        (["--batch", "0"], "--batch"),
        (["--repeat", "0"], "--repeat"),
        (["-o", "."], "is a folder"),
        (["-o", "/dev/null/a.json"], "/dev/null is not a writable folder"),
    ],
)
def test_mistakes(capsys: pytest.CaptureFixture[str], model: Path, options: list[str], problem: str) -> None:
    code, _, err = call(capsys, "benchmark", "-m", model, *options)
    assert code == 2
    assert problem in err


def test_a_model_that_does_not_exist_is_said_before_pytorch_is_loaded(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = call(capsys, "benchmark", "-m", "nowhere")
    assert code == 2
    assert "there is no such folder" in err
    assert "Did you mean 'tiny'?" in call(capsys, "benchmark", "-m", "tinny")[2]
