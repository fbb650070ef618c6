"""Whether an exported file detects what the detector itself does."""

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
"""Largest share of a mask's cells that are inside in one and outside in the other."""

ALLOWANCE = 0.02
"""How much smaller the share of detections that agree may be than that of the detector with itself.

By a rounding the last query to be selected, or the last box to be kept, may change places with the next one, and the
less a detector is trained, the nearer all scores are to each other. So the detector sees the same images once more,
with pixels changed by `ROUNDING`: that shows how many of its detections hang on roundings.
"""

LEAST_AGREEMENT = 0.9
"""Share of detections that must agree in any case: of a detector that hangs on roundings nothing can be checked."""

ROUNDING = 1e-6
"""Relative change of a pixel, in the order of what float32 loses on the way through a network."""


@dataclass(frozen=True)
class Comparison:
    """How one batch came out.

    Attributes:
        images: number of images.
        canvas: (height, width) in pixels.
        detections: of the detector itself, over all images.
        agreeing: share of them, or of the file's if these are more, that is the same within the tolerances.
        steady: share that stays the same when the pixels change by `ROUNDING`.
        boxes: largest difference of a coordinate in pixels, over detections of the same class that belong together.
        scores: likewise of scores.
        cells: likewise the largest share of cells of a mask that differ; None without masks.
    """

    images: int
    canvas: tuple[int, int]
    detections: int
    agreeing: float
    steady: float
    boxes: float
    scores: float
    cells: float | None

    @property
    def passed(self) -> bool:
        """Whether enough of the detections agree."""
        return self.agreeing >= max(self.steady - ALLOWANCE, LEAST_AGREEMENT)


@dataclass(frozen=True)
class Reference:
    """What a detector finds in a batch, on the canvas the program makes of it.

    Attributes:
        batch: as programs get it.
        expected: the detections.
        steady: see `Comparison`.
    """

    batch: ImageBatch
    expected: list[Detections]
    steady: float

    @classmethod
    def of(cls, detector: CoDETR, rule: CanvasRule, batch: ImageBatch) -> Reference:
        """Detect twice, the second time with pixels changed by `ROUNDING`."""
        canvas = rule.pad(batch.pixels)
        expected = detector.detect(replace(batch, pixels=canvas))
        noise = torch.randn(canvas.shape, generator=torch.Generator().manual_seed(0))
        again = detector.detect(replace(batch, pixels=canvas * (1 + ROUNDING * noise)))
        pairs = [_Pairs.of(*both) for both in zip(expected, map(_outputs, again), strict=True)]
        return cls(batch, expected, _agreeing(pairs))


def drawn_batches(preprocess: PreprocessConfig, rule: CanvasRule) -> list[ImageBatch]:
    """Batches of one to three drawn images of different sizes, on canvases of different sizes if the program takes any.

    On a fixed canvas, which is a large one, there are no three.

    Args:
        preprocess: of the model; all but one image are resized to the smallest sizes the program takes.
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
    """Images (height, width, 3) uint8 RGB as one batch, on a canvas that is large enough for the program."""
    pixels, sizes = zip(*(preprocess_image(image, preprocess) for image in images), strict=True)
    batch = collate(pixels, sizes, range(len(images)))
    missing = (max(rule.minimum - side, 0) for side in reversed(batch.canvas_size))
    return replace(batch, pixels=F.pad(batch.pixels, [pad for side in missing for pad in (0, side)]))


def compare(reference: Reference, run: Runner) -> Comparison:
    """Detect in a batch with a program, and compare with what the detector found."""
    batch = reference.batch
    outputs = run(batch.pixels, torch.tensor(batch.image_sizes), torch.tensor(batch.original_sizes))
    pairs = [
        _Pairs.of(found, {name: value[i] for name, value in outputs.items()})
        for i, found in enumerate(reference.expected)
    ]
    cells = [pair.cells for pair in pairs if pair.cells is not None]
    return Comparison(
        images=len(batch),
        canvas=batch.canvas_size,
        detections=sum(len(found) for found in reference.expected),
        agreeing=_agreeing(pairs),
        steady=reference.steady,
        boxes=_largest([pair.boxes for pair in pairs]),
        scores=_largest([pair.scores for pair in pairs]),
        cells=_largest(cells) if cells else None,
    )


def _outputs(found: Detections) -> dict[str, Tensor]:
    """Detections in one image as a program gives them."""
    outputs = {"boxes": found.boxes, "scores": found.scores, "labels": found.labels}
    if found.masks is not None:
        outputs["masks"] = found.masks.probabilities
    if found.mask_scores is not None:
        outputs["mask_scores"] = found.mask_scores
    return outputs


@dataclass
class _Pairs:
    """Detections of one image by both, those of the same class that belong together.

    Attributes:
        total: detections of the detector, or of the file if these are more.
        agreeing: pairs within the tolerances.
        boxes, scores, cells: differences of each pair.
    """

    total: int
    agreeing: int
    boxes: Tensor
    scores: Tensor
    cells: Tensor | None

    @classmethod
    def of(cls, expected: Detections, outputs: dict[str, Tensor]) -> _Pairs:
        there = outputs["labels"] >= 0
        boxes, scores, labels = (outputs[name][there] for name in ("boxes", "scores", "labels"))
        differences = (expected.boxes[:, None] - boxes).abs().amax(dim=-1) / BOX_TOLERANCE
        differences += (expected.scores[:, None] - scores).abs() / SCORE_TOLERANCE
        other_class = expected.labels[:, None] != labels
        # Numbers that are none are as far away as another class.
        costs = torch.where(other_class, torch.inf, differences).nan_to_num(1e9, 1e9, 1e9).numpy()
        ours, theirs = (torch.from_numpy(index) for index in linear_sum_assignment(costs))
        same = ~other_class[ours, theirs]
        ours, theirs = ours[same], theirs[same]
        apart = (expected.boxes[ours] - boxes[theirs]).abs().amax(dim=-1)
        scored = (expected.scores[ours] - scores[theirs]).abs()
        agreeing = (apart <= BOX_TOLERANCE) & (scored <= SCORE_TOLERANCE)
        cells = None
        if expected.masks is not None:
            inside = outputs["masks"][there][theirs] >= 0.5
            cells = ((expected.masks.probabilities[ours] >= 0.5) != inside).float().mean(dim=(1, 2))
            agreeing &= cells <= CELL_TOLERANCE
        if expected.mask_scores is not None:
            scored = scored.maximum((expected.mask_scores[ours] - outputs["mask_scores"][there][theirs]).abs())
            agreeing &= scored <= SCORE_TOLERANCE
        if (scores[1:] > scores[:-1] + SCORE_TOLERANCE).any():
            agreeing.zero_()  # they come best first, near ties apart
        return cls(max(len(expected), len(labels)), int(agreeing.sum()), apart, scored, cells)


def _agreeing(pairs: Sequence[_Pairs]) -> float:
    total = sum(pair.total for pair in pairs)
    return sum(pair.agreeing for pair in pairs) / total if total else 1.0


def _largest(differences: Sequence[Tensor]) -> float:
    joined = torch.cat(list(differences))
    return joined.max().item() if len(joined) else 0.0
