"""The comparison that decides whether a file is published: it detects wrong files."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from codetr.data.config import PreprocessConfig
from codetr.export.canvas import CanvasRule
from codetr.export.verify import DetectorReference, ExportComparison, compare, drawn_batches
from codetr.models.detector import CoDETR
from codetr.models.structures import ImageBatch
from tests.support.models.exportable import boxes_and_masks, random_detector

PREPROCESS = PreprocessConfig(short_side=70, long_side=100)

Outputs = dict[str, Tensor]


@pytest.fixture(scope="module")
def detector() -> CoDETR:
    return random_detector(boxes_and_masks())


def correct_outputs(detector: CoDETR, batch: ImageBatch, length: int = 12) -> Outputs:
    """The outputs of a correct program, padded to `length` detections."""
    rule = CanvasRule.of(detector.config)
    outputs: dict[str, list[Tensor]] = {"boxes": [], "scores": [], "labels": [], "masks": [], "mask_scores": []}
    for found in detector.detect(replace(batch, pixels=rule.pad(batch.pixels))):
        assert found.masks is not None
        assert found.mask_scores is not None
        values = (found.boxes, found.scores, found.labels, found.masks.probabilities, found.mask_scores)
        for (name, listed), value in zip(outputs.items(), values, strict=True):
            filled = value.new_full((length, *value.shape[1:]), -1 if name == "labels" else 0)
            filled[: len(value)] = value
            listed.append(filled)
    return {name: torch.stack(listed) for name, listed in outputs.items()}


def comparison(detector: CoDETR, change: Callable[[Outputs], None]) -> ExportComparison:
    rule = CanvasRule.of(detector.config)
    batch = drawn_batches(PREPROCESS, rule)[0]
    outputs = correct_outputs(detector, batch)
    change(outputs)
    return compare(DetectorReference.of(detector, rule, batch), lambda *_: outputs)


def test_the_same_detections_in_another_order_agree(detector: CoDETR) -> None:
    """Near ties are ordered differently by different runtimes."""

    def swap(outputs: Outputs) -> None:
        for value in outputs.values():
            value[:, [8, 9]] = value[:, [9, 8]]  # in both images their scores differ by less than is looked at

    result = comparison(detector, swap)
    assert result.passed
    assert (result.agreeing, result.boxes, result.scores, result.cells) == (1.0, 0.0, 0.0, 0.0)
    assert result.images == 2
    assert result.detections == 20


def shift(outputs: Outputs) -> None:
    outputs["boxes"][1, 4, 2] += 0.2


def lower(outputs: Outputs) -> None:
    outputs["scores"][0, 0] -= 0.01


def rename(outputs: Outputs) -> None:
    outputs["labels"][0, 1] = (outputs["labels"][0, 1] + 1) % 3


def lose(outputs: Outputs) -> None:
    outputs["labels"][0, 9] = -1


def invent(outputs: Outputs) -> None:
    outputs["labels"][0, 10] = 0


def invert(outputs: Outputs) -> None:
    outputs["masks"][0, 0] = 1 - outputs["masks"][0, 0]


def rescore(outputs: Outputs) -> None:
    outputs["mask_scores"][0, 0] += 0.01


def break_a_number(outputs: Outputs) -> None:
    outputs["boxes"][0, 0, 0] = torch.nan


def test_detections_that_are_not_best_first_do_not_agree(detector: CoDETR) -> None:
    def reverse(outputs: Outputs) -> None:
        for value in outputs.values():
            value[:, :10] = value[:, :10].flip(1)

    assert comparison(detector, reverse).agreeing == 0


@pytest.mark.parametrize("wrong", [shift, lower, rename, lose, invent, invert, rescore, break_a_number])
def test_one_wrong_detection_does_not_agree(detector: CoDETR, wrong: Callable[[Outputs], None]) -> None:
    assert 0.9 < comparison(detector, wrong).agreeing < 1


@pytest.mark.parametrize(
    ("agreeing", "stable", "passed"),
    [(0.99, 1.0, True), (0.97, 1.0, False), (0.97, 0.985, True), (0.93, 0.96, False), (0.5, 0.5, False)],
)
def test_a_file_may_be_as_unstable_as_its_detector(agreeing: float, stable: float, passed: bool) -> None:
    """Unless its detections depend on rounding errors, or are NaN, so that nothing can be verified."""
    assert ExportComparison(1, (65, 65), 100, agreeing, stable, boxes=0.0, scores=0.0, cells=None).passed == passed


def test_detections_that_depend_on_rounding_are_not_stable(detector: CoDETR, monkeypatch: pytest.MonkeyPatch) -> None:
    assert comparison(detector, lambda outputs: None).stable == 1
    monkeypatch.setattr("codetr.export.verify.ROUNDING", 0.1)
    assert comparison(detector, lambda outputs: None).stable < 1


def test_an_image_that_is_wrong_fails(detector: CoDETR) -> None:
    """For instance when sizes of images are mixed up within a batch."""

    def stretch(outputs: Outputs) -> None:
        outputs["boxes"][1] *= 1.5

    result = comparison(detector, stretch)
    assert result.agreeing <= 0.6
    assert result.boxes > 1
    assert not result.passed


def test_batches_and_canvases_differ(detector: CoDETR) -> None:
    """Otherwise a program for one size of batches or images would pass."""
    batches = drawn_batches(PREPROCESS, CanvasRule.of(detector.config))
    assert sorted(len(batch) for batch in batches) == [1, 2, 3]
    assert len({batch.canvas_size for batch in batches}) == 3
    assert all(min(batch.canvas_size) >= 65 for batch in batches)
    assert any(size != batch.canvas_size for batch in batches for size in batch.image_sizes)
    square = PreprocessConfig(canvas=96)
    on_one = drawn_batches(square, CanvasRule(multiple=64, minimum=96, fixed=96))
    assert {batch.canvas_size for batch in on_one} == {(96, 96)}
