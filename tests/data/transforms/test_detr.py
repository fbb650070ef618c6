"""Resizing, normalising, padding and augmenting against the official pipeline's arrays (tests/golden/pipeline)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from codetr.data.config import AugmentConfig, CropConfig, PreprocessConfig
from codetr.data.loading.collate import collate
from codetr.data.transforms.detr import augment, crop, draw_crop, flip, rescale
from codetr.data.transforms.preprocess import preprocess_image
from codetr.data.transforms.resize import rescaled_size, resize, resize_mask
from codetr.data.transforms.sample import Sample


def stage(path: Path, prefix: str) -> Sample:
    """A stage of the official pipeline; its images are BGR."""
    arrays = np.load(path)
    return Sample(
        arrays[f"{prefix}_img"][..., ::-1],
        arrays[f"{prefix}_gt_bboxes"],
        arrays[f"{prefix}_gt_labels"],
        arrays[f"{prefix}_gt_masks"],
    )


def assert_same(ours: Sample, official: Sample) -> None:
    np.testing.assert_array_equal(ours.image, official.image)
    np.testing.assert_allclose(ours.boxes, official.boxes, rtol=0, atol=1e-5)
    np.testing.assert_array_equal(ours.labels, official.labels)
    np.testing.assert_array_equal(ours.masks, official.masks)


@pytest.mark.parametrize(
    ("case", "config"),
    [
        ("test_detr_133x80_div1", PreprocessConfig(short_side=80, long_side=133)),
        ("test_vit_160x100_div32", PreprocessConfig(short_side=100, long_side=160, pad_divisor=32)),
    ],
)
def test_test_time_pipeline_equals_official(golden: Path, case: str, config: PreprocessConfig) -> None:
    """Published weights would see other pixels than those they were measured on."""
    path = golden / "pipeline" / f"{case}.npz"
    before, official = stage(path, "in"), np.load(path)
    assert_same(rescale(before, config.short_side, config.long_side), stage(path, "resized"))
    pixels, sizes = preprocess_image(before.image, config)
    np.testing.assert_allclose(pixels.numpy(), official["out_img"].transpose(2, 0, 1), rtol=1e-6, atol=1e-6)
    assert sizes.image == tuple(official["out_img_shape"][:2])
    assert sizes.padded == tuple(official["out_pad_shape"][:2])
    assert sizes.original == before.image.shape[:2]
    batch = collate([pixels], [sizes], [7])
    np.testing.assert_allclose(batch.scale_factors[0], official["out_scale_factor"][:2], rtol=1e-6)


def test_flip_equals_official(golden: Path) -> None:
    path = golden / "pipeline" / "flip.npz"
    assert_same(flip(stage(path, "in")), stage(path, "out"))


def test_crop_branch_equals_official(golden: Path) -> None:
    path = golden / "pipeline" / "detr_train_crop.npz"
    official = np.load(path)
    height, width, top, left = (int(draw) for draw in official["draws_croph_cropw_offh_offw"])
    first = stage(path, "resize1")
    # The draws of the two short sides are those of the resulting images, which are not long-side limited.
    assert_same(rescale(stage(path, "in"), 80, 4200), first)
    cropped = crop(first, top, left, height, width)
    assert_same(cropped, stage(path, "cropped"))
    assert_same(rescale(cropped, 96, 133), stage(path, "resize2"))


@pytest.mark.parametrize(("height", "width"), [(1, 1), (2, 3), (500, 1), (16, 800), (240, 320)])
def test_resize_is_bilinear_within_a_level(height: int, width: int) -> None:
    """Extreme shapes take no wrong pixels: an independent float implementation agrees within rounding."""
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3)).astype(np.uint8)
    size = rescaled_size(height, width, 100, 160)
    floats = torch.from_numpy(image).permute(2, 0, 1)[None].float()
    expected = torch.nn.functional.interpolate(floats, size, mode="bilinear", align_corners=False)[0].permute(1, 2, 0)
    assert np.abs(resize(image, *size) - expected.numpy()).max() <= 1.0


def test_resize_leaves_an_image_of_the_right_size_alone() -> None:
    image = np.random.default_rng(0).integers(0, 256, (7, 5, 3)).astype(np.uint8)
    np.testing.assert_array_equal(resize(image, 7, 5), image)
    mask = image[..., 0] > 128
    np.testing.assert_array_equal(resize_mask(mask, 7, 5), mask)


@pytest.mark.parametrize(
    ("size", "limits", "expected"),
    [
        ((480, 640), (800, 1333), (800, 1067)),
        ((300, 900), (800, 1333), (444, 1333)),
        ((16, 8000), (800, 1333), (3, 1333)),
        ((1, 8000), (32, 100), (1, 100)),  # would be 0.0125 pixels high
    ],
)
def test_rescaled_size(size: tuple[int, int], limits: tuple[int, int], expected: tuple[int, int]) -> None:
    assert rescaled_size(*size, *limits) == expected


def make_sample(height: int = 60, width: int = 80) -> Sample:
    random = np.random.default_rng(1)
    boxes = np.array([[5, 5, 20, 30], [40, 20, 70, 50]], np.float32)
    masks = np.zeros((2, height, width), bool)
    for mask, (left, top, right, bottom) in zip(masks, boxes.astype(int), strict=True):
        mask[top:bottom, left:right] = True
    return Sample(random.integers(0, 256, (height, width, 3)).astype(np.uint8), boxes, np.array([3, 1]), masks)


def test_augmented_boxes_follow_their_pixels() -> None:
    """Whatever was drawn, masks made from the same pixels still lie in their boxes, labels stay with them."""
    config = AugmentConfig(
        short_sides=(40, 56, 72), long_side=200, crop=CropConfig(short_sides=(50, 70), long_side=200, size=(30, 60))
    )
    seen = set()
    for seed in range(60):
        result = augment(make_sample(), config, np.random.default_rng(seed))
        assert result.masks is not None
        height, width = result.image.shape[:2]
        seen.add((min(height, width), len(result.labels)))
        assert result.masks.shape == (len(result.labels), height, width)
        for box, mask in zip(result.boxes, result.masks, strict=True):
            assert 0 <= box[0] < box[2] <= width
            assert 0 <= box[1] < box[3] <= height
            rows, columns = np.nonzero(mask)
            if len(rows):
                found = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
                np.testing.assert_allclose(box, found, atol=3)
    assert {side for side, _ in seen} == {40, 56, 72}
    assert {count for _, count in seen} >= {1, 2}


def test_augmentation_is_a_function_of_the_generator() -> None:
    config = AugmentConfig(short_sides=(40, 56, 72), long_side=100)
    first, second = (augment(make_sample(), config, np.random.default_rng(5)) for _ in range(2))
    assert_same(first, second)


def test_drawn_crops_cover_the_range_and_stay_inside() -> None:
    config = CropConfig(size=(30, 60))
    crops = [draw_crop(45, 200, config.size, np.random.default_rng(seed)) for seed in range(300)]
    for top, left, height, width in crops:
        assert top >= 0
        assert top + height <= 45
        assert left >= 0
        assert left + width <= 200
    assert {height for _, _, height, _ in crops} == set(range(30, 46))
    assert {width for *_, width in crops} == set(range(30, 61))
    assert draw_crop(10, 8, config.size, np.random.default_rng(0)) == (0, 0, 10, 8)


def test_crop_may_leave_no_object() -> None:
    """The official augmentation trains on such images as background instead of drawing again."""
    result = crop(make_sample(), 0, 72, 10, 8)
    assert result.boxes.shape == (0, 4)
    masks = rescale(result, 20, 40).masks
    assert masks is not None
    assert masks.shape == (0, 25, 20)


def test_batch_is_padded_with_zeros_at_the_right_and_bottom() -> None:
    config = PreprocessConfig(short_side=20, long_side=60, pad_divisor=8)
    images = [np.full((20, 30, 3), 255, np.uint8), np.full((40, 20, 3), 255, np.uint8)]
    pixels, sizes = zip(*(preprocess_image(image, config) for image in images), strict=True)
    batch = collate(pixels, sizes, [1, 2])
    assert batch.image_sizes == [(20, 30), (40, 20)]
    assert batch.padded_sizes == [(24, 32), (40, 24)]
    assert batch.canvas_size == (40, 32)
    for image, (height, width) in zip(batch.pixels, batch.image_sizes, strict=True):
        assert (image[:, :height, :width] > 2).all()
        assert (image[:, height:] == 0).all()
        assert (image[:, :, width:] == 0).all()
