"""Compare an evaluation with the stored one of the champion, the model in use: is the new model better, and where?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from codetr.core.errors import UserError
from codetr.core.files import read_json
from codetr.core.text import counted
from codetr.evaluation.comparison.bootstrap import MIN_IMAGES
from codetr.evaluation.comparison.compare import (
    CONFIDENCE,
    RESAMPLES,
    EvaluationComparison,
    compare_evaluations,
    signed,
)
from codetr.evaluation.comparison.match_table import MASK_MATCHES, MATCHES, MatchTable
from codetr.evaluation.evaluate import METRICS
from codetr.evaluation.metrics.operating_point import ImageMetrics
from codetr.registry.gate import Verdict

SEED = 0
"""Seed of the bootstrap, as the default of `codetr compare`."""

Tone = Literal["better", "worse", "unclear"]


@dataclass(frozen=True)
class Champion:
    """The champion of a registry.

    Attributes:
        version: its name, e.g. "v3".
        registered: when it was registered; UTC, ISO 8601.
        evaluation: folder of its evaluation.
        gate: what the promotion gate decides on the new model with its default settings.
        incomparable: why its metrics cannot be compared with those of the new model; empty if they can.
    """

    version: str
    registered: str
    evaluation: Path
    gate: Verdict
    incomparable: tuple[str, ...] = ()

    @property
    def registered_on(self) -> str:
        """When it was registered, to the minute."""
        return f"{self.registered[:16].replace('T', ' at ')} UTC"


@dataclass(frozen=True)
class ChangedImage:
    """An image that the two models detect differently.

    Attributes:
        before: the champion's metrics of it.
        after: those of the new model.
    """

    before: ImageMetrics
    after: ImageMetrics

    @property
    def difference(self) -> float:
        """How much the AP of the image rose; of equal ones the F1 decides."""
        return (self.after.AP or 0.0) - (self.before.AP or 0.0) + 1e-3 * ((self.after.f1 or 0) - (self.before.f1 or 0))


@dataclass(frozen=True)
class ChampionComparison:
    """A new model compared with the champion.

    Attributes:
        champion: the champion.
        boxes: the metrics of the boxes, the champion first.
        masks: those of the masks; None unless both have them.
        images: every image with objects, with the metrics of both.
        curve: the champion's precision over recall, as `pr_curve.json` has it.
        threshold: the score at which the champion has its best F1.
    """

    champion: Champion
    boxes: EvaluationComparison
    masks: EvaluationComparison | None
    images: list[ChangedImage]
    curve: list[dict[str, float | None]]
    threshold: float

    def improved(self, count: int) -> list[ChangedImage]:
        """Return the images whose AP rose most, the most improved first."""
        rising = [image for image in self.images if image.difference > 0]
        return sorted(rising, key=lambda image: -image.difference)[:count]

    def worsened(self, count: int) -> list[ChangedImage]:
        """Return the images whose AP fell most, the worst first."""
        falling = [image for image in self.images if image.difference < 0]
        return sorted(falling, key=lambda image: image.difference)[:count]

    def to_json(self) -> dict[str, Any]:
        """Return the comparison of the metrics as JSON values."""
        return {
            "version": self.champion.version,
            "boxes": self.boxes.to_json(),
            "masks": None if self.masks is None else self.masks.to_json(),
        }


@dataclass(frozen=True)
class ChampionVerdict:
    """The answer to whether the new model is better, for the top of the report.

    Attributes:
        tone: "better" or "worse" if the interval of the difference excludes zero.
        headline: one line.
        explanation: the numbers or the reasons behind it.
    """

    tone: Tone
    headline: str
    explanation: str


NOT_COMPARED = ChampionVerdict(
    "unclear",
    "Not compared with a champion",
    "Give codetr evaluate a registry (--registry) to compare with its champion.",
)
NO_CHAMPION = ChampionVerdict(
    "unclear", "No champion yet", "The registry had no champion to compare with when this model was evaluated."
)


Against = Champion | ChampionVerdict
"""The champion to compare with, or what to say where there is none."""


def compared_with(
    against: Against, tables: Mapping[str, MatchTable], images: Sequence[ImageMetrics], *, progress: bool = True
) -> tuple[ChampionVerdict, ChampionComparison | None]:
    """Compare a new model with the champion, if there is one that it can be compared with.

    Args:
        against: the champion.
        tables: matches of the new model, by the name of their file.
        images: its metrics of every image.
        progress: print progress.
    """
    if isinstance(against, ChampionVerdict):
        return against, None
    if against.incomparable:
        return not_comparable(against), None
    try:
        comparison = compare_with_champion(
            against, tables[MATCHES], tables.get(MASK_MATCHES), images, progress=progress
        )
    except UserError as error:
        return not_comparable(replace(against, incomparable=(str(error),))), None
    return verdict_on(comparison), comparison


def compare_with_champion(
    champion: Champion,
    boxes: MatchTable,
    masks: MatchTable | None,
    images: Sequence[ImageMetrics],
    *,
    resamples: int = RESAMPLES,
    progress: bool = False,
) -> ChampionComparison:
    """Compare the matches of a new model with those that the champion's evaluation stores.

    Args:
        champion: a comparable champion.
        boxes: matches of the new model's boxes.
        masks: matches of its masks, if it gives any.
        images: the new model's metrics of every image.
        resamples: number of bootstrap samples.
        progress: print progress.

    Raises:
        UserError: the champion's evaluation lacks a file that the comparison needs, or another version wrote it.
    """
    folder = champion.evaluation
    names = (f"champion {champion.version}", "new model")

    def compared(file: str, table: MatchTable) -> EvaluationComparison:
        tables = (MatchTable.read(folder / file), table)
        return compare_evaluations(tables, names, sets=resamples, confidence=CONFIDENCE, seed=SEED, progress=progress)

    try:
        before = {entry["image_id"]: ImageMetrics(**entry) for entry in read_json(folder / "per_image.json")}
        curve = [dict(point) for point in read_json(folder / "pr_curve.json")]
        threshold = float(read_json(folder / METRICS)["score_threshold"])
    except (TypeError, KeyError, ValueError, AttributeError):
        hint = "Evaluate the champion again and register that evaluation."
        raise UserError("was written by another version of codetr", where=str(folder), hint=hint) from None
    return ChampionComparison(
        champion=champion,
        boxes=compared(MATCHES, boxes),
        masks=None if masks is None or not (folder / MASK_MATCHES).is_file() else compared(MASK_MATCHES, masks),
        images=[
            ChangedImage(before[image.image_id], image)
            for image in images
            if image.ground_truths and image.image_id in before
        ],
        curve=curve,
        threshold=threshold,
    )


def verdict_on(comparison: ChampionComparison) -> ChampionVerdict:
    """Return whether the new model is better than the champion, by the AP of its boxes."""
    who = f"the champion {comparison.champion.version}"
    row = comparison.boxes.summary[0]
    difference = row.difference
    if difference.value is None:
        return ChampionVerdict("unclear", f"Not comparable with {who}", "There is no AP to measure on these images.")
    change = f"AP {signed(difference.value)}"
    of_both = f"AP {row.first.value:.4f} → {row.second.value:.4f} on {counted(comparison.boxes.images, 'image')}"
    if difference.low is None or difference.high is None:
        if abs(difference.value) < 5e-5:
            return ChampionVerdict("unclear", f"Equal to {who}: {change}", f"{of_both}.")
        higher = "Higher AP than" if difference.value > 0 else "Lower AP than"
        explanation = f"{of_both}. They differ on fewer than {MIN_IMAGES} images: other test images may reverse it."
        return ChampionVerdict("unclear", f"{higher} {who}: {signed(difference.value)}", explanation)
    interval = f"[{signed(difference.low)}, {signed(difference.high)}]"
    level = f"{100 * comparison.boxes.confidence:g} % confidence interval over the choice of test images"
    if difference.low > 0:
        return ChampionVerdict("better", f"Better than {who}: {change} {interval}", f"{of_both}; {level}.")
    if difference.high < 0:
        return ChampionVerdict("worse", f"Worse than {who}: {change} {interval}", f"{of_both}; {level}.")
    explanation = f"{of_both}; the {level} includes zero: other test images may reverse it."
    return ChampionVerdict("unclear", f"No clear difference from {who}: {change} {interval}", explanation)


def not_comparable(champion: Champion) -> ChampionVerdict:
    """Return the verdict on a champion that was evaluated on other images, under other conditions or for others."""
    reasons = "; ".join(champion.incomparable)
    headline = f"Not comparable with the champion {champion.version}"
    return ChampionVerdict("unclear", headline, f"{reasons[:1].upper()}{reasons[1:]}.")


def image_changes(comparison: ChampionComparison) -> list[dict[str, Any]]:
    """Return the AP of every image with objects before and after, the most improved first."""
    return [
        {
            "image_id": image.after.image_id,
            "file_name": image.after.file_name,
            "champion": {name: asdict(image.before)[name] for name in ("AP", "f1")},
            "model": {name: asdict(image.after)[name] for name in ("AP", "f1")},
        }
        for image in sorted(comparison.images, key=lambda image: -image.difference)
    ]
