"""`codetr export` from a model folder to files, and the code in the guide that uses them."""

from __future__ import annotations

import json
import re
import runpy
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from PIL import Image
from torch.export.passes import move_to_device_pass

from codetr.cli import main
from codetr.core.errors import UserError
from codetr.core.files import sha256_file
from codetr.data.config import PreprocessConfig
from codetr.data.images import read_image
from codetr.data.transforms.resize import resize
from codetr.export.canvas import CanvasRule
from codetr.export.export_model import export
from codetr.export.verify import ExportComparison, batch_of
from codetr.inference.load import load
from codetr.models.masks import paste_mask
from codetr.models.structures import Detections
from codetr.weights.model_folder import ModelInfo, save_model
from tests.support.models.exportable import boxes_and_masks, random_detector
from tests.support.paths import ROOT

GUIDE = ROOT / "docs/how-to/export.md"
NAMES = ("square", "disc", "cross")
PREPROCESS = PreprocessConfig(short_side=128, long_side=192)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    config = boxes_and_masks()
    info = ModelInfo(recipe="small", class_names=NAMES, model=config, preprocess=PREPROCESS)
    save_model(folder, random_detector(config).state_dict(), info)
    return folder


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An image of smooth colours."""
    file = tmp_path_factory.mktemp("photo") / "photo.png"
    pixels = np.random.default_rng(0).integers(0, 256, (8, 12, 3), dtype=np.uint8)
    Image.fromarray(pixels).resize((300, 200), Image.Resampling.BICUBIC).save(file)
    return file


@pytest.fixture(scope="module")
def exported(model: Path, photo: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output of the command, with both files verified."""
    output = tmp_path_factory.mktemp("exported") / "files"
    with pytest.raises(SystemExit) as ended:
        main(["export", "-m", str(model), "-o", str(output), "--image", str(photo)])
    assert not ended.value.code
    return output


def python_of(guide: Path, start: str) -> str:
    """The Python block of a guide that begins with `start`."""
    (block,) = re.findall(rf"```python\n({re.escape(start)}.*?)```", guide.read_text(encoding="utf-8"), re.DOTALL)
    return block


def test_both_files_say_what_they_are(exported: Path, model: Path) -> None:
    assert sorted(path.name for path in exported.iterdir()) == ["codetr.json", "model.onnx", "model.pt2"]
    session = onnxruntime.InferenceSession(exported / "model.onnx")
    extra = {"codetr.json": ""}
    program = torch.export.load(exported / "model.pt2", extra_files=extra)
    info = json.loads(extra["codetr.json"])
    assert json.loads(session.get_modelmeta().custom_metadata_map["codetr"]) == info
    assert json.loads((exported / "codetr.json").read_text()) == info
    assert info["class_names"] == list(NAMES)
    assert PreprocessConfig.parse(info["preprocess"]) == PREPROCESS
    assert info["recipe"] == "small"
    assert info["weights"] == sha256_file(model / "model.safetensors")
    assert info["canvas"] == {"multiple": 64, "minimum": 65, "fixed": None}
    # Heads that do not run would only make the files larger.
    assert any("instance_head" in name for name in program.state_dict)
    assert not any(head in name for name in program.state_dict for head in ("rpn_head", "roi_head", "atss_head"))


def test_they_say_nothing_of_the_machine_that_made_them(exported: Path) -> None:
    """torch.export records the source line of every operation."""
    content = (exported / "model.onnx").read_bytes()
    with zipfile.ZipFile(exported / "model.pt2") as archive:
        content += b"".join(archive.read(name) for name in archive.namelist())
    assert str(Path(export.__code__.co_filename).parents[2]).encode() not in content


@pytest.fixture
def guide(exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Image.Image], dict[str, Any]]:
    """Run the code of the guide on an image, and return its variables."""
    (tmp_path / "guide.py").write_text(python_of(GUIDE, "import json"))
    (tmp_path / "model.onnx").write_bytes((exported / "model.onnx").read_bytes())
    monkeypatch.chdir(tmp_path)

    def run(image: Image.Image) -> dict[str, Any]:
        image.save("photo.jpg", format="PNG", exif=image.getexif())
        return runpy.run_path("guide.py")

    return run


def test_the_program_in_the_guide_resizes_as_the_model_was_trained(
    guide: Callable[[Image.Image], dict[str, Any]], photo: Path
) -> None:
    """Pillow rounds differently, so grey levels may differ by one; antialiasing would change them by tens."""
    resized = np.asarray(guide(Image.open(photo))["resized"]).astype(int)
    expected = resize(read_image(photo), 128, 192).astype(int)
    assert np.abs(resized - expected).max() <= 1


def test_the_program_in_the_guide_finds_what_predict_finds(
    guide: Callable[[Image.Image], dict[str, Any]], model: Path, photo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """On an image that needs neither resizing nor padding, in which the two differ slightly."""
    image = Image.open(photo).resize((192, 128))
    found = guide(image)["found"]
    (expected,) = load(model, device="cpu").detect([np.array(image)])
    assert found["labels"][0].tolist() == expected.labels.tolist()
    np.testing.assert_allclose(found["scores"][0], expected.scores, atol=1e-5)
    np.testing.assert_allclose(found["boxes"][0], expected.boxes, atol=1e-2)
    printed = [line.rsplit(maxsplit=5)[0] for line in capsys.readouterr().out.splitlines()]
    assert printed == [NAMES[label] for label in expected.labels[expected.scores >= 0.3]]


def test_pasting_in_the_guide_is_that_of_the_detector() -> None:
    names: dict[str, Any] = {"np": np, "Image": Image}
    exec(python_of(GUIDE, "def paste"), names)
    generator = torch.Generator().manual_seed(0)
    for box in ([3.3, 4.7, 30.2, 17.9], [-5.0, 2.5, 12.0, 44.0], [7.0, 8.0, 7.0, 12.0], [60.0, 5.0, 70.0, 9.0]):
        grid = torch.rand(14, 14, generator=generator)
        pasted = torch.from_numpy(names["paste"](grid.numpy(), box, (40, 30)))
        # Rounding decides about pixels whose probability is one half.
        assert (pasted != paste_mask(grid, box, (30, 40))).sum() <= 1


def test_the_program_of_the_guide_for_pytorch_finds_the_same(
    exported: Path, photo: Path, guide: Callable[[Image.Image], dict[str, Any]], tmp_path: Path
) -> None:
    """As written there, with gradients enabled, the default."""
    first = guide(Image.open(photo))
    names: dict[str, Any] = {"images": torch.from_numpy(first["canvas"])}
    names |= {name: torch.from_numpy(value) for name, value in first["sizes"].items()}
    (tmp_path / "model.pt2").write_bytes((exported / "model.pt2").read_bytes())
    exec(python_of(GUIDE, "import torch\n"), names)
    for name, value in first["found"].items():
        torch.testing.assert_close(names["found"][name], torch.from_numpy(value), atol=1e-3, rtol=1e-3)
    move_to_device_pass(names["program"], "meta").module()(
        *(names[name].to("meta") for name in ("images", "image_sizes", "original_sizes"))
    )


@pytest.mark.parametrize("canvas", [None, 160])
def test_the_program_in_the_guide_prepares_images_as_predict_does(
    canvas: int | None, model: Path, exported: Path, photo: Path, guide: Callable[[Image.Image], dict[str, Any]]
) -> None:
    """On a square canvas for models that need one, and rotated upright."""
    preprocess = PREPROCESS.model_copy(update={"canvas": canvas})
    session = onnxruntime.InferenceSession(exported / "model.onnx")
    info = json.loads(session.get_modelmeta().custom_metadata_map["codetr"])
    file = onnx.load("model.onnx")
    info["preprocess"] = preprocess.model_dump(mode="json")
    file.metadata_props[0].value = json.dumps(info)
    onnx.save(file, "model.onnx")
    image = Image.open(photo)
    image.getexif()[0x0112] = 6
    given = guide(image)["canvas"]
    batch = batch_of([read_image(Path("photo.jpg"))], preprocess, CanvasRule(**info["canvas"]))
    assert given.shape == tuple(batch.pixels.shape)
    assert np.abs(given - batch.pixels.numpy()).max() <= 1.01 / min(PREPROCESS.std)  # Pillow rounds by another rule


WRONG = ExportComparison(1, (65, 65), 10, agreeing=0.5, stable=1.0, boxes=20.0, scores=0.1, cells=None)


@pytest.fixture
def wrong_exporter(monkeypatch: pytest.MonkeyPatch) -> None:
    """An exporter that writes wrong files."""
    for name, replacement in {
        "export_program": lambda detector: None,
        "save_program": lambda exported, path, info: path.write_text("a wrong one"),
        "load_program": lambda path: None,
        "compare": lambda *_: WRONG,
    }.items():
        monkeypatch.setattr(f"codetr.export.export_model.{name}", replacement)


def test_a_file_that_differs_is_not_written(model: Path, tmp_path: Path, wrong_exporter: None) -> None:
    output = tmp_path / "files"
    output.mkdir()
    (output / "codetr.json").write_text("{}")
    (output / "model.pt2").write_text("an earlier one")
    with pytest.raises(UserError, match=r"model\.pt2: only 50\.0% of 10 detections .* agree .* nothing was written"):
        export(model, output, formats=["torch"])
    assert [path.name for path in tmp_path.iterdir()] == ["files"]
    assert (output / "model.pt2").read_text() == "an earlier one"


def test_nothing_found_is_nothing_checked(
    model: Path, tmp_path: Path, wrong_exporter: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    none = Detections(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.int64))
    monkeypatch.setattr("codetr.models.detector.CoDETR.detect", lambda self, batch: [none] * len(batch))
    with pytest.raises(UserError, match="detects nothing in any image"):
        export(model, tmp_path / "files", formats=["torch"])
    assert not list(tmp_path.iterdir())


def test_other_folders_are_not_replaced(model: Path, tmp_path: Path) -> None:
    """Including a folder with a file of the same name, a common one."""
    for name in ("photo.jpg", "model.onnx"):
        (tmp_path / name).write_text("somebody's")
        with pytest.raises(UserError, match="no earlier output of export"):
            export(model, tmp_path)
        (tmp_path / name).unlink()


def test_an_unknown_format_is_a_mistake(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["export", "-m", str(model), "-o", str(tmp_path / "files"), "--format", "tflite"])
    assert ended.value.code == 2
    assert "--format: unknown format tflite. Formats: onnx, torch." in capsys.readouterr().err
