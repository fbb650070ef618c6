"""Large-scale jitter and copy-paste against the official pipeline's arrays (tests/golden/pipeline)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from codetr.data.config import JitterConfig, PreprocessConfig
from codetr.data.transforms.large_scale_jitter import (
    LazySample,
    boxes_from_masks,
    large_scale_jitter,
    pad_to_canvas,
    paste_objects,
    resize_and_crop,
)
from codetr.data.transforms.preprocess import preprocess_image
from codetr.data.transforms.resize import rescaled_size
from codetr.data.transforms.sample import Sample


def stage(path: Path, prefix: str) -> Sample:
    """A stage of the official pipeline; its images are BGR."""
    arrays = np.load(path)
    names = ("img", "gt_bboxes", "gt_labels", "gt_masks")
    image, boxes, labels, masks = (arrays[f"{prefix}_{name}"] for name in names)
    return Sample(image[..., ::-1], boxes, labels, masks)


def lazy(sample: Sample) -> LazySample:
    assert sample.masks is not None
    return LazySample(Sample(sample.image, sample.boxes, sample.labels), iter(sample.masks))


def assert_same(ours: Sample, official: Sample) -> None:
    np.testing.assert_array_equal(ours.image, official.image)
    np.testing.assert_array_equal(ours.boxes, official.boxes)
    np.testing.assert_array_equal(ours.labels, official.labels)
    assert ours.masks is not None
    assert official.masks is not None
    np.testing.assert_array_equal(ours.masks, official.masks)


@pytest.mark.parametrize("case", ["lsj_train_0", "lsj_train_1", "lsj_train_2"])
def test_jitter_equals_official(golden: Path, case: str) -> None:
    """Published LSJ models would be fine-tuned on other boxes than they were trained on."""
    path = golden / "pipeline" / f"{case}.npz"
    official = np.load(path)
    _, height, width, top, left = official["draws_resizeratio_croph_cropw_offh_offw"]
    before = stage(path, "in")
    side = int(official["scale"][0])
    ratio = 0.1 + official["draws_resizeratio_croph_cropw_offh_offw"][0] * 1.9
    assert int(96 * ratio) == side
    size = rescaled_size(before.image.shape[0], before.image.shape[1], side, side)
    cropped = resize_and_crop(lazy(before), size, (int(top), int(left), int(height), int(width)))
    assert_same(cropped, stage(path, "cropped"))
    assert_same(pad_to_canvas(cropped, 96), stage(path, "out"))


def test_copy_paste_equals_official(golden: Path) -> None:
    path = golden / "pipeline" / "copy_paste.npz"
    assert_same(paste_objects(stage(path, "dst"), stage(path, "src")), stage(path, "out"))


def test_test_time_canvas_equals_official(golden: Path) -> None:
    path = golden / "pipeline" / "test_lsj_128.npz"
    official = np.load(path)
    image = stage(path, "in").image
    pixels, sizes = preprocess_image(image, PreprocessConfig(canvas=128))
    np.testing.assert_allclose(pixels.numpy(), official["out_img"].transpose(2, 0, 1), rtol=1e-6, atol=1e-6)
    assert sizes.image == tuple(official["out_img_shape"][:2])
    assert sizes.padded == (128, 128)
    assert sizes.original == image.shape[:2]


def square(label: int, left: int, top: int, side: int = 12, size: int = 48) -> Sample:
    """One bright square on black."""
    mask = np.zeros((1, size, size), bool)
    mask[0, top : top + side, left : left + side] = True
    image = np.where(mask[0][..., None], 200, 0).astype(np.uint8).repeat(3, axis=-1)
    return Sample(image, boxes_from_masks(mask), np.array([label]), mask)


def test_an_object_that_is_covered_is_gone_and_one_that_is_hardly_covered_stays() -> None:
    below, above = square(1, 4, 4), square(2, 4, 4)
    assert paste_objects(below, above).labels.tolist() == [2]
    shifted = paste_objects(below, square(2, 12, 4))
    assert shifted.labels.tolist() == [1, 2]
    np.testing.assert_array_equal(shifted.boxes[0], [4, 4, 12, 16])


def test_boxes_and_masks_follow_their_pixels() -> None:
    """Whatever was drawn: every box is that of its mask, and masks lie on pixels of their objects."""
    images = [square(0, 3, 5), square(1, 30, 20, side=15)]
    config = JitterConfig(canvas=64, scale=(0.4, 2.0))
    counts = set()
    for seed in range(40):
        _, result = large_scale_jitter(
            lambda index: lazy(images[index]), seed % 2, 2, config, np.random.default_rng(seed)
        )
        assert result.image.shape == (64, 64, 3)
        assert result.masks is not None
        assert result.masks.any(axis=(1, 2)).all()
        np.testing.assert_array_equal(result.boxes, boxes_from_masks(result.masks))
        for mask in result.masks:
            assert (result.image[mask].mean() > 120).all()
        counts.add(len(result.labels))
    assert counts >= {1, 2}, "objects are pasted sometimes, not always"


def test_an_image_without_objects_gives_way_to_another() -> None:
    """The official pipeline never trains these models on background alone."""
    empty = Sample(
        np.zeros((20, 30, 3), np.uint8),
        np.zeros((0, 4), np.float32),
        np.zeros(0, np.int64),
        np.zeros((0, 20, 30), bool),
    )
    images = [empty, square(1, 10, 10)]
    used, result = large_scale_jitter(
        lambda index: lazy(images[index]), 0, 2, JitterConfig(canvas=32, max_pasted=0), np.random.default_rng(0)
    )
    assert (used, result.labels.tolist()) == (1, [1])


def boxes_only(sample: Sample) -> LazySample:
    return LazySample(Sample(sample.image, sample.boxes, sample.labels), [None] * len(sample.labels))


def test_boxes_without_segmentations_are_scaled_and_cut_exactly() -> None:
    """Rounding to whole pixels would move the sides of a small object by a tenth of its size."""
    sample = square(1, 10, 10)
    sample.boxes[:] = [10.25, 10.5, 21.75, 22.0]
    moved = resize_and_crop(boxes_only(sample), (24, 24), (6, 2, 18, 20))
    np.testing.assert_array_equal(moved.boxes, [[3.125, 0, 8.875, 5]])
    assert moved.masks is not None
    np.testing.assert_array_equal(boxes_from_masks(moved.masks), [[3, 0, 9, 5]])
    assert len(resize_and_crop(boxes_only(sample), (24, 24), (12, 12, 12, 12)).labels) == 0
    assert len(resize_and_crop(boxes_only(sample), (1, 1), (0, 0, 1, 1)).labels) == 0, "the middle of no pixel is in it"


def test_objects_without_segmentations_are_pasted_as_rectangles() -> None:
    """Datasets of boxes can be trained on with copy-paste: labels and boxes go where the pixels go."""
    images = [square(0, 3, 5), square(1, 30, 20, side=15)]
    config = JitterConfig(canvas=64, scale=(0.4, 2.0))
    counts = set()
    for seed in range(40):
        _, result = large_scale_jitter(
            lambda index: boxes_only(images[index]), seed % 2, 2, config, np.random.default_rng(seed)
        )
        assert result.masks is not None
        np.testing.assert_allclose(result.boxes, boxes_from_masks(result.masks), atol=0.5)
        for mask in result.masks:
            # The outermost pixels are blends of the object and what is around it.
            assert np.median(result.image[mask]) > 60
        counts.add(tuple(result.labels))
    assert {len(labels) for labels in counts} == {1, 2}


def test_a_covered_part_of_a_box_is_cut_off_and_other_boxes_stay_as_they_are() -> None:
    below = square(1, 4, 4)
    below.boxes[:] = [3.75, 4.25, 16.25, 15.75]
    untouched = paste_objects(below, square(2, 30, 30))
    np.testing.assert_array_equal(untouched.boxes[0], below.boxes[0])
    np.testing.assert_array_equal(paste_objects(below, square(2, 12, 4)).boxes[0], [4, 4, 12, 16])


def test_both_images_are_recoloured_and_the_grey_around_them_is_not() -> None:
    images = [square(0, 3, 5), square(1, 30, 20, side=15)]
    config = JitterConfig(canvas=64, scale=(0.5, 0.5))
    for seed in range(10):
        draws = (seed % 2, 2, config)
        _, plain = large_scale_jitter(lambda index: lazy(images[index]), *draws, np.random.default_rng(seed))
        _, result = large_scale_jitter(
            lambda index: lazy(images[index]), *draws, np.random.default_rng(seed), lambda image: image // 2
        )
        np.testing.assert_array_equal(result.boxes, plain.boxes)
        inside = np.zeros((64, 64), bool)
        inside[:32, :32] = True
        np.testing.assert_array_equal(result.image[inside], plain.image[inside] // 2)
        np.testing.assert_array_equal(result.image[~inside], plain.image[~inside])
