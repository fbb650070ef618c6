"""Mosaic: four images in one, every object where its pixels are."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace

import numpy as np

from codetr.data.transforms.large_scale_jitter import LazySample, boxes_from_masks
from codetr.data.transforms.mosaic import mosaic
from codetr.data.transforms.preprocess import GREY
from codetr.data.transforms.sample import Sample


def image(label: int, height: int, width: int, *, has_segmentation: bool = True) -> LazySample:
    """Dark, with one bright rectangle whose colour is its label's, over the middle of each side's half."""
    box = np.array([[width // 4, height // 4, 3 * width // 4, 3 * height // 4]])
    mask = np.zeros((height, width), bool)
    mask[box[0, 1] : box[0, 3], box[0, 0] : box[0, 2]] = True
    pixels = np.where(mask[..., None], 100 + 30 * label, 10).astype(np.uint8).repeat(3, axis=-1)
    return LazySample(Sample(pixels, box.astype(np.float32), np.array([label])), [mask if has_segmentation else None])


def four(*, has_segmentation: bool = True) -> list[LazySample]:
    return [
        image(label, *size, has_segmentation=has_segmentation)
        for label, size in enumerate(((40, 64), (64, 40), (20, 20), (90, 64)))
    ]


def test_every_object_lies_on_its_pixels() -> None:
    """Boxes, labels and masks that went elsewhere than the pixels would teach nonsense in every fourth image."""
    seen = set()
    for seed in range(40):
        result = mosaic(four(), 64, np.random.default_rng(seed)).with_masks()
        assert result.image.shape == (128, 128, 3)
        assert result.masks is not None
        np.testing.assert_array_equal(result.boxes, boxes_from_masks(result.masks))
        for mask, label in zip(result.masks, result.labels, strict=True):
            inside = result.image[mask][:, 0].astype(int)
            assert np.median(inside) == 100 + 30 * label
        seen |= set(result.labels.tolist())
    assert seen == {0, 1, 2, 3}


def test_objects_with_boxes_only_get_the_boxes_of_their_segmentations() -> None:
    """Objects are rectangles, equal to their boxes, so both ways must agree to half a pixel."""
    for seed in range(20):
        has_segmentation, plain = (
            mosaic(four(has_segmentation=way), 64, np.random.default_rng(seed)).sample for way in (True, False)
        )
        np.testing.assert_array_equal(has_segmentation.image, plain.image)
        np.testing.assert_array_equal(has_segmentation.labels, plain.labels)
        np.testing.assert_allclose(has_segmentation.boxes, plain.boxes, atol=1)


def test_without_masks_the_boxes_are_the_same_and_no_mask_is_made() -> None:
    """The masks of a crowded scene are hundreds of megabytes, in every loader process, to be thrown away."""
    for seed in range(20):
        images = four(has_segmentation=False)
        with_masks = mosaic(images, 64, np.random.default_rng(seed)).sample
        made = mosaic([image._replace(masks=None) for image in images], 64, np.random.default_rng(seed))
        assert made.masks is None
        np.testing.assert_array_equal(made.sample.image, with_masks.image)
        np.testing.assert_array_equal(made.sample.boxes, with_masks.boxes)
        np.testing.assert_array_equal(made.sample.labels, with_masks.labels)

    corners = np.random.default_rng(0).uniform(0, 200, (500, 2)).astype(np.float32)
    sample = replace(images[0].sample, boxes=np.concatenate([corners, corners + 20], 1), labels=np.zeros(500, np.int64))
    crowded = LazySample(replace(sample, image=np.zeros((256, 256, 3), np.uint8)), None)
    tracemalloc.start()
    try:
        mosaic([crowded] * 4, 256, np.random.default_rng(0))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 256 * 256 * 100, "far less than the masks of a single one of the images"


def test_the_images_meet_in_the_drawn_point_and_the_rest_is_grey() -> None:
    white = [
        LazySample(Sample(np.full((50, 50, 3), shade, np.uint8), np.zeros((0, 4), np.float32), np.zeros(0, int)), [])
        for shade in (0, 50, 200, 250)
    ]
    meetings = set()
    for seed in range(30):
        random = np.random.default_rng(seed)
        x, y = random.integers(16, 49, 2)
        result = mosaic(white, 32, np.random.default_rng(seed)).sample.image[..., 0]
        expected = np.full((64, 64), GREY)
        for shade, top, left in ((0, y - 32, x - 32), (50, y - 32, x), (200, y, x - 32), (250, y, x)):
            expected[max(top, 0) : top + 32, max(left, 0) : left + 32] = shade
        np.testing.assert_array_equal(result, expected)
        meetings.add((x, y))
    assert len(meetings) > 20


def test_images_without_objects_are_background() -> None:
    empty = LazySample(Sample(np.zeros((9, 12, 3), np.uint8), np.zeros((0, 4), np.float32), np.zeros(0, np.int64)), [])
    result = mosaic([empty] * 4, 32, np.random.default_rng(0)).with_masks()
    assert result.boxes.shape == (0, 4)
    assert result.masks is not None
    assert result.masks.shape == (0, 64, 64)
