"""Drawing val and test from train: every part gets its share of every class, and no content is in two of them."""

from __future__ import annotations

import random

import pytest

from codetr.core.errors import UserError
from codetr.data.ingest.draw_splits import draw_splits
from codetr.data.ingest.image_check import CheckedImage


def image(number: int, content: int | None = None) -> CheckedImage:
    digest = f"sha256:{number if content is None else content:064x}"
    return CheckedImage(number, f"{number}.jpg", 10, 10, True, digest, 100)


def divide(
    classes: dict[int, set[int]], fractions: dict[str, float], seed: int = 0, *, stratify: bool = True
) -> dict[str, set[int]]:
    images = [image(number) for number in classes]
    parts = draw_splits(images, classes, fractions, seed, stratify=stratify)
    assert sorted(found.image_id for part in parts.values() for found in part) == sorted(classes)
    return {name: {found.image_id for found in part} for name, part in parts.items()}


def images_with(label: int, part: set[int], classes: dict[int, set[int]]) -> int:
    return sum(label in classes[number] for number in part)


@pytest.fixture
def long_tail() -> dict[int, set[int]]:
    """2,000 images of up to six of 100 classes, of which class k is in about a share 1/k of what class 1 is in."""
    draw = random.Random(4)
    weights = [1 / (label + 1) for label in range(100)]
    return {number: set(draw.choices(range(100), weights, k=draw.randint(0, 6))) for number in range(2000)}


@pytest.mark.parametrize("fractions", [{"val": 0.2}, {"val": 0.1, "test": 0.3}])
def test_every_part_has_its_share_of_every_class(long_tail: dict[int, set[int]], fractions: dict[str, float]) -> None:
    parts = divide(long_tail, fractions)
    for name, fraction in fractions.items():
        assert len(parts[name]) / 2000 == pytest.approx(fraction, abs=0.01)
        for label in range(100):
            total = images_with(label, set(long_tail), long_tail)
            assert images_with(label, parts[name], long_tail) == pytest.approx(fraction * total, abs=4), label


@pytest.mark.parametrize("seed", range(5))
def test_a_class_with_two_images_is_on_both_sides(seed: int) -> None:
    """A class without a single image in val is not measured, one without in train is not learnt."""
    draw = random.Random(seed)
    classes: dict[int, set[int]] = {number: {0, *draw.sample(range(1, 60), 2)} for number in range(100)}
    classes |= {100 + label: {1000 + label} for label in range(5)}  # a single image each
    parts = divide(classes, {"val": 0.1}, seed)
    for label in range(60):
        if images_with(label, set(classes), classes) > 1:
            assert images_with(label, parts["train"], classes)
            assert images_with(label, parts["val"], classes)
    assert {100 + label for label in range(5)} <= parts["train"]


def test_classes_that_only_occur_with_rarer_ones_are_in_both_splits() -> None:
    """Handing out the rarest first puts all images of class 0 into train, one after the other."""
    classes = {0: {0, 1}, 1: {0, 1}, 2: {0, 2}, 3: {0, 2}, 4: {0, 3}, 5: {0, 3}}
    classes |= {number: {number} for number in range(10, 30)}
    parts = divide(classes, {"val": 0.2})
    for label in range(4):
        assert images_with(label, parts["val"], classes)
        assert images_with(label, parts["train"], classes)


@pytest.mark.parametrize("stratify", [True, False])
def test_the_result_depends_on_the_seed_and_not_on_the_order_of_images(
    long_tail: dict[int, set[int]], stratify: bool
) -> None:
    numbers = list(long_tail)
    random.Random(1).shuffle(numbers)
    shuffled = {number: long_tail[number] for number in numbers}
    first = divide(long_tail, {"val": 0.2}, stratify=stratify)
    assert divide(shuffled, {"val": 0.2}, stratify=stratify) == first
    assert divide(long_tail, {"val": 0.2}, seed=1, stratify=stratify) != first


@pytest.mark.parametrize("stratify", [True, False])
def test_identical_content_stays_together(stratify: bool) -> None:
    """Otherwise val would be measured on images that were trained on."""
    images = [image(number, content=number // 3) for number in range(90)]
    classes = {number: {number % 4} for number in range(90)}
    parts = draw_splits(images, classes, {"val": 0.3, "test": 0.2}, 0, stratify=stratify)
    digests = [{found.digest for found in part} for part in parts.values()]
    assert all(digests)
    assert sum(map(len, digests)) == len(set().union(*digests)) == 30


@pytest.mark.parametrize("stratify", [True, False])
def test_no_part_is_empty_while_there_are_images(stratify: bool) -> None:
    for seed in range(20):
        parts = divide({1: {1}, 2: {2}, 3: set()}, {"val": 0.01, "test": 0.01}, seed, stratify=stratify)
        assert [len(part) for part in parts.values()] == [1, 1, 1]


def test_too_few_images_are_refused() -> None:
    with pytest.raises(UserError, match=r"2 image\(s\) cannot be divided into train and val and test"):
        divide({1: {1}, 2: {1}}, {"val": 0.2, "test": 0.2})
