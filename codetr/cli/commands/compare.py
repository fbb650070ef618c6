"""The command compare: two evaluations, or two result files, and by how much they differ."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from codetr.cli.output import console, plain, print_table
from codetr.core.errors import UserError

if TYPE_CHECKING:
    from codetr.evaluation.comparison.bootstrap import Estimate
    from codetr.evaluation.comparison.compare import Row
    from codetr.evaluation.comparison.match_table import Outcomes

_MOST_CLASSES = 20
"""Classes that the terminal lists."""


def compare(
    *,
    first: Annotated[Path, typer.Argument(metavar="A", help="An evaluation, or a COCO result file.")],
    second: Annotated[Path, typer.Argument(metavar="B", help="Another one of the same images.")],
    annotations: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The annotation file that result files belong to.")
    ] = None,
    masks: Annotated[bool, typer.Option("--masks", help="Compare masks instead of boxes.")] = False,
    resamples: Annotated[
        int, typer.Option(min=10, max=10_000, help="How many sets of images to draw from the test set.")
    ] = 1000,
    confidence: Annotated[float, typer.Option(min=0.5, max=0.999, help="Of the intervals.")] = 0.95,
    seed: Annotated[int, typer.Option(min=0, help="Of the draws.")] = 0,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FOLDER", help="Where compare.json, a plot and a page go."),
    ] = None,
) -> None:
    """Whether B is better than A, or other images would have turned it round: intervals by a paired bootstrap.

    Sets of images are drawn from the test set with replacement, and both models are measured on each. For 5,000 images
    and 80 classes, 1,000 sets take about 15 seconds.

    [cyan]codetr compare outputs/old outputs/new -o outputs/comparison[/]

    [cyan]codetr compare old.json new.json --annotations instances_val2017.json[/]
    """
    from codetr.core.files import require_replaceable
    from codetr.evaluation.comparison.compare import compare as compare_outcomes
    from codetr.evaluation.report import comparison_page

    if output is not None:
        require_replaceable(output, "comparison", lambda path: comparison_page.PARTS if _is_comparison(path) else None)
    if annotations is None:
        outcomes = _of_folders(first, second, masks=masks)
    else:
        outcomes = _of_files(annotations, first, second, masks=masks)
    names = (first.name, second.name) if first.name != second.name else (str(first), str(second))
    comparison = compare_outcomes(outcomes, names, sets=resamples, confidence=confidence, seed=seed, progress=True)
    headings = ("", *names, "difference", "p")
    print_table(headings, [_cells(row) for row in comparison.summary])
    out = console()
    out.print()
    clear = comparison.clear
    title = f"{len(clear)} of {len(comparison.classes)} classes clearly differ in AP"
    out.print(title + (f", the first {_MOST_CLASSES}:" if len(clear) > _MOST_CLASSES else ":" if clear else ""))
    if clear:
        print_table(headings, [_cells(row) for row in clear[:_MOST_CLASSES]])
    out.print(
        f"[dim]{comparison.images} images, {resamples} sets drawn, intervals of {100 * confidence:g} %; "
        "p: how often chance alone makes a difference as large[/]"
    )
    if output is not None:
        comparison_page.write_comparison(output, comparison)
        out.print(f"open {plain((output / comparison_page.PARTS[2]).resolve())}")


def _of_folders(first: Path, second: Path, *, masks: bool) -> tuple[Outcomes, Outcomes]:
    from codetr.core.manifest import Manifest
    from codetr.evaluation.comparison.match_table import MASK_OUTCOMES, OUTCOMES, Outcomes

    sets = []
    for path in (first, second):
        if path.is_file():
            hint = "Give the annotation file they belong to: --annotations instances_val2017.json."
            raise UserError("is a file, expected the folder of an evaluation", where=str(path), hint=hint)
        manifest = Manifest.read(path, "evaluation", verify=True)
        if OUTCOMES not in manifest.files:
            hint = "Evaluate again: earlier versions did not write what comparing needs."
            raise UserError(f"holds no {OUTCOMES}", where=str(path), hint=hint)
        if masks and MASK_OUTCOMES not in manifest.files:
            raise UserError("no masks were measured in this evaluation", where=str(path))
        sets.append(manifest.summary.get("evaluation_set"))
    if sets[0] != sets[1]:
        hint = "Evaluate both models on the same split of the same dataset."
        problem = f"they were measured on different images or annotations ({sets[0]} and {sets[1]})"
        raise UserError(problem, where=f"{first} and {second}", hint=hint)
    name = MASK_OUTCOMES if masks else OUTCOMES
    return Outcomes.read(first / name), Outcomes.read(second / name)


def _of_files(annotations: Path, first: Path, second: Path, *, masks: bool) -> tuple[Outcomes, Outcomes]:
    from codetr.evaluation.comparison.match_table import Outcomes
    from codetr.evaluation.evaluate import evaluate_results
    from codetr.evaluation.metrics.coco import arrays
    from codetr.evaluation.tables.coco_json import check_masks, read_ground_truth, read_predictions

    ground_truth = read_ground_truth(annotations)

    def outcomes(path: Path) -> Outcomes:
        if path.is_dir():
            hint = "Leave --annotations out to compare folders of evaluations, or give predictions.json in them."
            raise UserError("is a folder, expected a COCO result file", where=str(path), hint=hint)
        predictions = read_predictions(path, ground_truth)
        if masks:
            check_masks(ground_truth, predictions)
        kind: Any = "segm" if masks else "bbox"
        truth, found = arrays(ground_truth, predictions, kind)
        return Outcomes.of(evaluate_results(truth, found, kind).matching, truth)

    return outcomes(first), outcomes(second)


def _is_comparison(folder: Path) -> bool:
    from codetr.evaluation.report.comparison_page import PARTS

    return all((folder / name).is_file() for name in PARTS)


def _cells(row: Row) -> tuple[str, ...]:
    from codetr.evaluation.report.comparison_page import chance

    return row.name, _shown(row.first), _shown(row.second), _shown(row.difference, "+"), chance(row.p)


def _shown(entry: Estimate, sign: str = "") -> str:
    if entry.value is None:
        return "-"
    text = f"{entry.value:{sign}.4f}"
    return text if entry.low is None else f"{text} [{entry.low:{sign}.4f}, {entry.high:{sign}.4f}]"
