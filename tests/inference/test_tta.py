"""Test-time augmentation: which views the network sees, and that detections are mapped back to the image."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import codetr
from codetr.core.errors import UserError
from codetr.data.config import PreprocessConfig
from codetr.inference.tta import mirror, scaled
from tests.support.models.finder import Finder, scene
from tests.support.models.small_models import masked, write_model

BOXES = ((5, 10, 45, 30), (50, 5, 70, 35))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> codetr.Model:
    return codetr.load(write_model(tmp_path_factory.mktemp("model") / "model", **masked()), device="cpu")


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (50, 80, 3), dtype=np.uint8)


def test_one_view_is_the_model_itself(model: codetr.Model, image: np.ndarray) -> None:
    plain = model.predict(image, threshold=0)
    same = codetr.TestTimeAugmentation(model, scales=[1.0], flip=False).predict(image, threshold=0)
    assert np.array_equal(plain.boxes, same.boxes)
    assert np.array_equal(plain.scores, same.scores)
    assert np.array_equal(plain.masks, same.masks)


def test_mirrored_views_are_mirrored_back() -> None:
    """Boxes shifted by a pixel, or mirrored masks, would blur every object."""
    finder = Finder()
    seen = scene(40, 81, *BOXES)
    model = codetr.TestTimeAugmentation(finder, scales=[1.0])
    result = model.predict(seen)
    assert len(finder.seen) == 2
    assert np.allclose(result.boxes, BOXES, atol=1e-4)
    assert np.allclose(result.scores, Finder().predict(seen).scores)
    # The finder's masks fill one corner of every box, so half of the views say the one corner and half the other.
    (found,) = finder.detect([np.ascontiguousarray(seen[:, ::-1])])
    back = mirror(found, 81)
    assert back.boxes.tolist() == [list(box) for box in BOXES]
    assert back.masks is not None
    assert found.masks is not None
    assert torch.equal(back.masks.pasted(), found.masks.pasted().flip(-1))


def test_a_flip_of_the_image_flips_the_result(model: codetr.Model, image: np.ndarray) -> None:
    """With both directions the result is symmetric; the order of equal scores may differ."""
    augmented = codetr.TestTimeAugmentation(model, scales=[1.0])
    result = augmented.predict(image, threshold=0)
    flipped = augmented.predict(image[:, ::-1], threshold=0)
    assert np.allclose(result.scores, flipped.scores, atol=1e-5)
    back = flipped.boxes[:, [2, 1, 0, 3]] * [-1, 1, -1, 1] + [80, 0, 80, 0]
    assert np.allclose(result.boxes[:10], back[:10], atol=1e-2)


def test_scales_are_factors_of_the_models_size() -> None:
    finder = Finder()
    image = scene(40, 80, *BOXES)
    result = codetr.TestTimeAugmentation(finder, scales=[1.0, 0.5], flip=False).predict(image)
    assert [batch.image_sizes for batch in finder.seen] == [[(667, 1333)], [(333, 666)]]
    assert np.allclose(result.boxes, BOXES, atol=1e-4)
    assert scaled(PreprocessConfig(canvas=1024), 1.0).canvas == 1024
    assert scaled(PreprocessConfig(canvas=1000), 1.0).canvas == 1000
    assert scaled(PreprocessConfig(canvas=1024), 1.2).canvas == 1216


def test_scales_find_boxes_in_pixels_of_the_image(model: codetr.Model, image: np.ndarray) -> None:
    result = codetr.TestTimeAugmentation(model, scales=[0.5, 1.0, 1.5]).predict(image, threshold=0)
    assert len(result)
    assert (result.boxes >= -1e-3).all()
    assert (result.boxes <= np.array([80, 50, 80, 50]) + 1e-3).all()
    assert result.masks is not None
    assert result.masks.shape[1:] == (50, 80)


@pytest.mark.parametrize("scales", [[], [0.0], [1.0, -1.0]])
def test_invalid_scales_are_refused(scales: list[float]) -> None:
    with pytest.raises(UserError, match=r"scales: .*not positive"):
        codetr.TestTimeAugmentation(Finder(), scales=scales)


def test_it_has_the_interface_of_a_model(model: codetr.Model, image: np.ndarray, tmp_path: Path) -> None:
    augmented = codetr.TestTimeAugmentation(model)
    assert augmented.class_names == model.class_names
    results = augmented.predict([image, image[:30]], batch_size=2)
    assert [result.size for result in results] == [(50, 80), (30, 80)]
