"""Verify that the detections of an exported file agree with those of the detector."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch.nn import functional as F

from codetr.data.config import PreprocessConfig
from codetr.data.loading.collate import collate
from codetr.data.synthetic import draw_image
from codetr.data.transforms.preprocess import preprocess_image
from codetr.export.canvas import CanvasRule
from codetr.export.program import Runner
from codetr.models.detector import CoDETR
from codetr.models.structures import Detections, ImageBatch

BOX_TOLERANCE = 0.1
"""Largest difference of a coordinate, in pixels of the original image."""

SCORE_TOLERANCE = 1e-3

CELL_TOLERANCE = 0.01
"""Largest share of a mask's cells that may differ."""

ALLOWANCE = 0.02
"""How far the agreement may be below that of the detector with itself.

A rounding error can swap the last selected query, or the last kept box, with the next one, and the less a detector is
trained, the closer all scores are. So the detector is run a second time with pixels changed by `ROUNDING`, which shows
how many of its detections depend on rounding errors.
"""

MIN_AGREEMENT = 0.9
"""Smallest agreement in any case: a detector whose detections depend on rounding errors cannot be verified."""

ROUNDING = 1e-6
"""Relative change of a pixel, of the order of the rounding errors of a network in float32."""


@dataclass(frozen=True)
class ExportComparison:
    """The comparison of one batch.

    Attributes:
        images: number of images.
        canvas: (height, width) in pixels.
        detections: of the detector, over all images.
        agreeing: share of the detections (of the detector or the file, whichever are more) within the tolerances.
        stable: share of the detector's detections that are unchanged when the pixels change by `ROUNDING`.
        boxes: largest difference of a coordinate in pixels, over matched detections of the same class.
        scores: largest difference of their scores.
        cells: largest share of differing cells of their masks; None without masks.
    """

    images: int
    canvas: tuple[int, int]
    detections: int
    agreeing: float
    stable: float
    boxes: float
    scores: float
    cells: float | None

    @property
    def passed(self) -> bool:
        """Whether enough of the detections agree."""
        return self.agreeing >= max(self.stable - ALLOWANCE, MIN_AGREEMENT)


@dataclass(frozen=True)
class DetectorReference:
    """The detections of a detector in a batch, on the canvas that the program pads it to.

    Attributes:
        batch: the input of programs.
        expected: the detections.
        stable: see `ExportComparison`.
    """

    batch: ImageBatch
    expected: list[Detections]
    stable: float

    @classmethod
    def of(cls, detector: CoDETR, rule: CanvasRule, batch: ImageBatch) -> DetectorReference:
        """Run the detector twice, the second time with pixels changed by `ROUNDING`."""
        canvas = rule.pad(batch.pixels)
        expected = detector.detect(replace(batch, pixels=canvas))
        noise = torch.randn(canvas.shape, generator=torch.Generator().manual_seed(0))
        again = detector.detect(replace(batch, pixels=canvas * (1 + ROUNDING * noise)))
        pairs = [_MatchedPairs.of(*both) for both in zip(expected, map(_outputs, again), strict=True)]
        return cls(batch, expected, _agreeing(pairs))


def drawn_batches(preprocess: PreprocessConfig, rule: CanvasRule) -> list[ImageBatch]:
    """Draw batches of one to three images of different sizes, on different canvases unless the program's is fixed.

    A fixed canvas is large, so its batches have at most two images.

    Args:
        preprocess: of the model; all but one image are resized to the smallest sizes that the program accepts.
        rule: of the program.
    """
    draw = np.random.default_rng(0)
    counts, sizes = [2, 1], [preprocess] * 2
    if rule.fixed is None:
        sides = [rule.minimum + int(part * rule.multiple) for part in (1.0, 2.5)]
        smaller = [{"short_side": side, "long_side": 2 * side, "canvas": preprocess.canvas and side} for side in sides]
        counts = [2, 3, 1]
        sizes = [*(preprocess.model_copy(update=update) for update in smaller), preprocess]
    return [
        batch_of([draw_image(draw, (120, 240), (1, 6))[0] for _ in range(count)], config, rule)
        for count, config in zip(counts, sizes, strict=True)
    ]


def batch_of(images: Sequence[NDArray[np.uint8]], preprocess: PreprocessConfig, rule: CanvasRule) -> ImageBatch:
    """Collate images (height, width, 3) uint8 RGB on a canvas that is large enough for the program."""
    pixels, sizes = zip(*(preprocess_image(image, preprocess) for image in images), strict=True)
    batch = collate(pixels, sizes, range(len(images)))
    missing = (max(rule.minimum - side, 0) for side in reversed(batch.canvas_size))
    return replace(batch, pixels=F.pad(batch.pixels, [pad for side in missing for pad in (0, side)]))


def compare(reference: DetectorReference, run: Runner) -> ExportComparison:
    """Run a program on a batch, and compare its detections with the detector's."""
    batch = reference.batch
    outputs = run(batch.pixels, torch.tensor(batch.image_sizes), torch.tensor(batch.original_sizes))
    pairs = [
        _MatchedPairs.of(found, {name: value[i] for name, value in outputs.items()})
        for i, found in enumerate(reference.expected)
    ]
    cells = [pair.cells for pair in pairs if pair.cells is not None]
    return ExportComparison(
        images=len(batch),
        canvas=batch.canvas_size,
        detections=sum(len(found) for found in reference.expected),
        agreeing=_agreeing(pairs),
        stable=reference.stable,
        boxes=_largest([pair.boxes for pair in pairs]),
        scores=_largest([pair.scores for pair in pairs]),
        cells=_largest(cells) if cells else None,
    )


def _outputs(found: Detections) -> dict[str, Tensor]:
    """Convert the detections of one image to a program's outputs."""
    outputs = {"boxes": found.boxes, "scores": found.scores, "labels": found.labels}
    if found.masks is not None:
        outputs["masks"] = found.masks.probabilities
    if found.mask_scores is not None:
        outputs["mask_scores"] = found.mask_scores
    return outputs


@dataclass
class _MatchedPairs:
    """Detections of one image by detector and file, matched within each class.

    Attributes:
        total: number of the detector's detections, or of the file's if these are more.
        agreeing: pairs within the tolerances.
        boxes, scores, cells: differences of each pair.
    """

    total: int
    agreeing: int
    boxes: Tensor
    scores: Tensor
    cells: Tensor | None

    @classmethod
    def of(cls, expected: Detections, outputs: dict[str, Tensor]) -> _MatchedPairs:
        present = outputs["labels"] >= 0
        boxes, scores, labels = (outputs[name][present] for name in ("boxes", "scores", "labels"))
        differences = (expected.boxes[:, None] - boxes).abs().amax(dim=-1) / BOX_TOLERANCE
        differences += (expected.scores[:, None] - scores).abs() / SCORE_TOLERANCE
        other_class = expected.labels[:, None] != labels
        # NaN is as distant as another class.
        costs = torch.where(other_class, torch.inf, differences).nan_to_num(1e9, 1e9, 1e9).numpy()
        ours, theirs = (torch.from_numpy(index) for index in linear_sum_assignment(costs))
        same = ~other_class[ours, theirs]
        ours, theirs = ours[same], theirs[same]
        apart = (expected.boxes[ours] - boxes[theirs]).abs().amax(dim=-1)
        scored = (expected.scores[ours] - scores[theirs]).abs()
        agreeing = (apart <= BOX_TOLERANCE) & (scored <= SCORE_TOLERANCE)
        cells = None
        if expected.masks is not None:
            inside = outputs["masks"][present][theirs] >= 0.5
            cells = ((expected.masks.probabilities[ours] >= 0.5) != inside).float().mean(dim=(1, 2))
            agreeing &= cells <= CELL_TOLERANCE
        if expected.mask_scores is not None:
            scored = scored.maximum((expected.mask_scores[ours] - outputs["mask_scores"][present][theirs]).abs())
            agreeing &= scored <= SCORE_TOLERANCE
        if (scores[1:] > scores[:-1] + SCORE_TOLERANCE).any():
            agreeing.zero_()  # they must be sorted by score, except for near ties
        return cls(max(len(expected), len(labels)), int(agreeing.sum()), apart, scored, cells)


def _agreeing(pairs: Sequence[_MatchedPairs]) -> float:
    total = sum(pair.total for pair in pairs)
    return sum(pair.agreeing for pair in pairs) / total if total else 1.0


def _largest(differences: Sequence[Tensor]) -> float:
    joined = torch.cat(list(differences))
    return joined.max().item() if len(joined) else 0.0
