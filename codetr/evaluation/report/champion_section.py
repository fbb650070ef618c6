"""The part of the report that compares the new model with the champion: plots, and the images that changed most."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from codetr.core.files import read_json, write_json
from codetr.evaluation.analysis.explain import analyse
from codetr.evaluation.comparison.champion import ChampionComparison, ChangedImage, image_changes
from codetr.evaluation.evaluate import evaluate_results
from codetr.evaluation.report.comparison_page import plot_differences
from codetr.evaluation.report.overlays import Overlay, OverlayBuilder
from codetr.evaluation.report.plots import plot_curves_of_both
from codetr.evaluation.tables.predictions import PredictionTable

_MAX_CHANGED = 3
"""Improved images in the report, and as many that became worse."""


@dataclass(frozen=True)
class ChangedPicture:
    """An image with the detections of the champion, and with those of the new model.

    Attributes:
        image: the metrics of both.
        before: the detections of the champion.
        after: those of the new model.
    """

    image: ChangedImage
    before: Overlay
    after: Overlay


@dataclass(frozen=True)
class ChampionSection:
    """What the page shows of the comparison with the champion.

    Attributes:
        comparison: the comparison.
        plots: caption and file of every plot.
        changed: "Better than before" and "Worse than before", each with its images.
    """

    comparison: ChampionComparison
    plots: list[tuple[str, Path]]
    changed: list[tuple[str, list[ChangedPicture]]]


def champion_section(
    folder: Path,
    comparison: ChampionComparison,
    overlays: OverlayBuilder,
    curve: list[dict[str, float | None]],
    count: int,
) -> ChampionSection:
    """Write `champion.json` and the plots of a comparison, and draw the images that changed most.

    Args:
        folder: of the evaluation.
        comparison: the comparison.
        overlays: of the new model.
        curve: precision over recall of the new model.
        count: pictures of the report's other parts; there are no more here.
    """
    boxes, plots = comparison.boxes, folder / "plots"
    write_json(folder / "champion.json", {**comparison.to_json(), "images": image_changes(comparison)})
    curves, differences = plots / "champion_curves.png", plots / "champion_differences.png"
    plot_curves_of_both(comparison.curve, curve, boxes.names, curves)
    differences.write_bytes(plot_differences(boxes.summary, boxes.significant, boxes.confidence))
    most = min(count, _MAX_CHANGED)
    changed = [("Better than before", comparison.improved(most)), ("Worse than before", comparison.worsened(most))]
    before = _overlays_of_champion(comparison, overlays, {image.after.image_id for _, of in changed for image in of})
    return ChampionSection(
        comparison=comparison,
        plots=[
            (f"Precision over recall: {boxes.names[0]} and {boxes.names[1]}", curves),
            ("Differences with confidence intervals", differences),
        ],
        changed=[
            (
                heading,
                [ChangedPicture(image, before.whole(image.before), overlays.whole(image.after)) for image in images],
            )
            for heading, images in changed
            if images
        ],
    )


def _overlays_of_champion(
    comparison: ChampionComparison, overlays: OverlayBuilder, image_ids: set[int]
) -> OverlayBuilder:
    """Return what draws some images with the detections that the champion's evaluation stores."""
    results = read_json(comparison.champion.evaluation / "predictions.json") if image_ids else []
    predictions = PredictionTable.of_coco(
        [entry for entry in results if entry["image_id"] in image_ids], overlays.truth
    )
    metrics = evaluate_results(overlays.truth, predictions)
    return OverlayBuilder(overlays.truth, predictions, analyse(overlays.truth, predictions, metrics), overlays.pixels)
