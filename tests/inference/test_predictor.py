"""The Python interface: every type of image gives the same result, and invalid input is named."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

import codetr
from codetr.core.errors import UserError
from codetr.data.images import read_image
from codetr.inference.inputs import as_rgb
from codetr.models.structures import Detections
from tests.support.models.finder import Finder, scene
from tests.support.models.small_models import write_model


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> codetr.Model:
    return codetr.load(write_model(tmp_path_factory.mktemp("model") / "model"), device="cpu")


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A photograph as phones write it: rotated pixels, and an EXIF tag with the orientation."""
    path = tmp_path_factory.mktemp("photo") / "photo.png"
    exif = Image.Exif()
    exif[0x0112] = 6
    pixels = np.random.default_rng(0).integers(0, 255, (50, 80, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, exif=exif)
    return path


def as_tensor(path: Path) -> torch.Tensor:
    return torch.from_numpy(read_image(path)).permute(2, 0, 1)


@pytest.mark.parametrize(
    "kind",
    [
        str,
        Image.open,
        read_image,
        lambda path: np.asfortranarray(read_image(path)),
        lambda path: read_image(path).astype(np.float64) / 255,
        as_tensor,
        lambda path: as_tensor(path).float() / 255,
        lambda path: (as_tensor(path).float() / 255).requires_grad_(),
    ],
    ids=["str", "pillow", "array", "fortran", "float array", "tensor", "float tensor", "tensor with gradient"],
)
def test_every_kind_of_image_gives_the_same_result(model: codetr.Model, photo: Path, kind: Any) -> None:
    """Swapped channels, another orientation or value range would silently lower the accuracy."""
    expected = model.predict(photo, threshold=0)
    result = model.predict(kind(photo), threshold=0)
    assert len(expected) > 5
    assert result.size == expected.size == (80, 50)
    assert np.array_equal(result.boxes, expected.boxes)
    assert np.array_equal(result.scores, expected.scores)
    assert np.array_equal(result.image, read_image(photo))


def test_one_image_gives_a_result_and_several_a_list(model: codetr.Model, photo: Path) -> None:
    pixels = read_image(photo)
    single = model.predict(pixels)
    assert isinstance(single, codetr.Result)
    kinds: list[Any] = [
        [pixels, photo],
        (pixels, str(photo)),
        iter([pixels, pixels]),
        np.stack([pixels, pixels]),
        torch.stack([as_tensor(photo)] * 2),
    ]
    for several in kinds:
        results = model.predict(several)
        assert isinstance(results, list)
        assert len(results) == 2
        assert all(np.array_equal(result.boxes, single.boxes) for result in results)
    assert model.predict([]) == []
    assert len(model.predict([photo])) == 1


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "P", "1", "CMYK", "I;16"])
def test_images_of_any_mode_are_converted_as_files_are(model: codetr.Model, tmp_path: Path, mode: str) -> None:
    image = Image.fromarray(np.random.default_rng(1).integers(0, 255, (40, 60), dtype=np.uint8))
    image = Image.fromarray(np.asarray(image).astype(np.uint16) << 8) if mode == "I;16" else image.convert(mode)
    image.save(tmp_path / "image.tif")
    direct, file = model.predict(image, threshold=0), model.predict(tmp_path / "image.tif", threshold=0)
    assert np.array_equal(direct.scores, file.scores)


def test_batches_are_filled_in_order(model: codetr.Model, photo: Path) -> None:
    """Results of another image would go unnoticed. Equal sizes need no padding, so numbers agree."""
    images = [np.roll(read_image(photo), 7 * k, axis=0) for k in range(5)]
    alone = [model.predict(image, threshold=0) for image in images]
    for batch_size in (2, 5, 8):
        together = model.predict(images, threshold=0, batch_size=batch_size)
        for one, other in zip(alone, together, strict=True):
            assert np.allclose(one.scores[:5], other.scores[:5], atol=1e-4)


@pytest.mark.parametrize(
    ("image", "said"),
    [
        ("missing.jpg", r"missing\.jpg: no such file"),
        (np.zeros((3, 40, 60), np.uint8), r"image: is an array of shape \(3, 40, 60\).*\(height, width, 3\)"),
        (np.zeros((40, 60), np.uint8), r"image: is an array of shape \(40, 60\)"),
        (torch.zeros(40, 60, 3), r"image: is a tensor of shape \(40, 60, 3\).*\(3, height, width\)"),
        (torch.zeros(3, 4, 5).to_sparse(), "image: is a sparse_coo tensor"),
        (torch.zeros(3, 4, 5, device="meta"), "image: is a meta tensor"),
        (np.zeros((40, 60, 3)) + 200, "image: has values from 200 to 200, expected 0 to 1"),
        (np.zeros((40, 60, 3)) - 1, "image: has values from -1 to -1"),
        (np.full((4, 6, 3), np.nan), "image: has values from nan"),
        (np.zeros((40, 60, 3), np.int64), "image: has values of type int64"),
        (np.zeros((0, 60, 3), np.uint8), "image: has no pixels"),
        (Image.new("F", (4, 4)), "image: has 32-bit floating-point pixels"),
        ("https://example.org/a.jpg", "https://example.org/a.jpg: is an address.*Download the image"),
        ("S3://bucket/a.jpg", "is an address"),
        (np.full((4, 6, 3), 1.01), "image: has values from 1.01 to 1.01"),
        (None, "image: is a NoneType"),
        ([np.zeros((40, 60, 3), np.uint8), 7], r"images\[1\]: is a int"),
        (b"ab", r"images\[0\]: is a int"),
    ],
)
def test_invalid_images_are_named(model: codetr.Model, image: Any, said: str) -> None:
    with pytest.raises(UserError, match=said):
        model.predict(image)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_values_outside_by_rounding_are_clipped(dtype: Any) -> None:
    """Resampling leaves -1e-7 and 1.0000001: the image was refused, or black would wrap around to white."""
    values = np.array([[[-1e-7, 0, 1e-3], [1 + 1e-6, 1, 1.0009], [0.5, -9e-4, 1]]], dtype)
    assert as_rgb(values, "image").pixels.tolist() == [[[0, 0, 0], [255, 255, 255], [128, 0, 255]]]
    tensor = torch.from_numpy(values).permute(2, 0, 1)
    assert np.array_equal(as_rgb(tensor, "image").pixels, as_rgb(values, "image").pixels)


def test_sixteen_bit_images_are_scaled_by_the_range_of_the_model(model: codetr.Model, tmp_path: Path) -> None:
    """A detector that was trained on 12-bit images would see black ones in `predict`, and draw on black."""
    values = np.random.default_rng(0).integers(0, 4096, (48, 64)).astype(np.uint16)
    Image.fromarray(values).save(tmp_path / "a.png")
    trained = codetr.Model(model.detector, model.info.model_copy(update={"range_16bit": (0, 4095)}))
    expected = (values >> 4).astype(np.uint8)
    for image in (tmp_path / "a.png", Image.open(tmp_path / "a.png")):
        assert np.array_equal(trained.predict(image).image[..., 0], expected)
        assert np.array_equal(model.predict(image).image[..., 0], values >> 8)


@pytest.mark.parametrize(("arguments", "said"), [({"threshold": 30}, "threshold: 30"), ({"batch_size": 0}, "batch_si")])
def test_arguments_out_of_range_are_refused(model: codetr.Model, arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        model.predict([], **arguments)


def test_scores_that_are_nan_are_an_error() -> None:
    """NaN is below every threshold: with broken weights an image would seem to be empty."""

    class Broken(Finder):
        def find(self, red: NDArray[np.float32], size: tuple[int, int]) -> Detections:
            found = super().find(red, size)
            found.scores[0] = torch.nan
            return found

    with pytest.raises(UserError, match="not finite"):
        Broken().predict(scene(20, 20, (2, 2, 9, 9)))


def test_importing_the_package_is_light() -> None:
    """Commands, DAGs and components import it without PyTorch, or where start-up time counts."""
    code = (
        "import sys, codetr\n"
        "assert set(codetr.__all__) <= set(dir(codetr))\n"
        "heavy = {'torch', 'numpy', 'PIL', 'pydantic'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "for name in codetr.__all__: getattr(codetr, name)\n"
        "assert 'av' not in sys.modules\n"
        "assert not hasattr(codetr, 'Modle')\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


STARTS_FAST = """
import sys
import numpy, torch
import codetr
def require_absent(*names):
    loaded = [name for name in names if name in sys.modules]
    assert not loaded, loaded
model = codetr.load(sys.argv[1], device="cpu")
assert len(model.predict(numpy.zeros((50, 80, 3), numpy.uint8), threshold=0)) > 5
import codetr.inference.predict_files, codetr.steps.train
require_absent("matplotlib")
import codetr.steps.evaluate
require_absent("torch._dynamo", "torchvision", "scipy.optimize", "pandas", "wandb", "onnx", "timm", "av", "boto3")
"""


def test_predictions_and_steps_do_not_wait_for_libraries_that_they_do_not_need(tmp_path: Path) -> None:
    """Importing `torch.compile`'s machinery, which torchvision does, takes as long as importing PyTorch."""
    model = write_model(tmp_path / "model")
    subprocess.run([sys.executable, "-c", STARTS_FAST, str(model)], check=True)
