"""`codetr compare`: differences between two evaluations or two result files, with confidence intervals."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from codetr.cli.output import console, plain, print_table
from codetr.core.bounds import MAX_SEED
from codetr.core.errors import UserError
from codetr.core.text import counted

if TYPE_CHECKING:
    from codetr.evaluation.comparison.bootstrap import Estimate
    from codetr.evaluation.comparison.compare import ComparedMetric, EvaluationComparison
    from codetr.evaluation.comparison.match_table import MatchTable

_MAX_CLASSES = 20
"""Classes that the terminal lists."""


def compare(
    *,
    first: Annotated[Path, typer.Argument(metavar="A", help="An evaluation, or a COCO result file.")],
    second: Annotated[Path, typer.Argument(metavar="B", help="Another one on the same images.")],
    annotations: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Annotation file of the result files.")
    ] = None,
    masks: Annotated[bool, typer.Option("--masks", help="Compare masks instead of boxes.")] = False,
    resamples: Annotated[int, typer.Option(min=10, max=10_000, help="Number of bootstrap samples.")] = 1000,
    confidence: Annotated[float, typer.Option(min=0.5, max=0.999, help="Confidence level of the intervals.")] = 0.95,
    seed: Annotated[int, typer.Option(min=0, max=MAX_SEED, help="Random seed of the bootstrap.")] = 0,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FOLDER", help="Folder for compare.json, a plot and an HTML page."),
    ] = None,
) -> None:
    """Compare two evaluations: difference of every metric with a confidence interval (paired bootstrap).

    Samples of images are drawn from the test set with replacement, and both models are measured on each. For 5,000
    images and 80 classes, 1,000 samples take about 15 seconds.

    [cyan]codetr compare outputs/old outputs/new -o outputs/comparison[/]

    [cyan]codetr compare old.json new.json --annotations instances_val2017.json[/]
    """
    from codetr.core.files import require_replaceable
    from codetr.evaluation.comparison.compare import compare_evaluations
    from codetr.evaluation.report import comparison_page

    if output is not None:
        require_replaceable(output, "comparison", lambda path: comparison_page.PARTS if _is_comparison(path) else None)
    if annotations is None:
        tables = _of_folders(first, second, masks=masks)
    else:
        tables = _of_files(annotations, first, second, masks=masks)
    names = (first.name, second.name) if first.name != second.name else (str(first), str(second))
    comparison = compare_evaluations(tables, names, sets=resamples, confidence=confidence, seed=seed, progress=True)
    _show(comparison)
    if output is not None:
        comparison_page.write_comparison(output, comparison)
        console().print(f"open {plain((output / comparison_page.PARTS[2]).resolve())}")


def _show(comparison: EvaluationComparison) -> None:
    """Print the summary and the classes with significant differences."""
    headings = ("", *comparison.names, "difference", "p")
    print_table(headings, [_cells(row) for row in comparison.summary])
    out = console()
    out.print()
    significant = comparison.significant
    more = f", the first {_MAX_CLASSES}:" if len(significant) > _MAX_CLASSES else ":" if significant else ""
    classes = counted(len(comparison.classes), "class")
    have = "has" if len(comparison.classes) == 1 else "have"
    out.print(f"{len(significant)} of {classes} {have} a significant difference in AP{more}")
    if significant:
        print_table(headings, [_cells(row) for row in significant[:_MAX_CLASSES]])
    out.print(
        f"[dim]{counted(comparison.images, 'image')}, {counted(comparison.sets, 'bootstrap sample')}, "
        f"{100 * comparison.confidence:g} % confidence intervals; "
        "p: probability of a difference at least as large if both models were equal[/]"
    )


def _of_folders(first: Path, second: Path, *, masks: bool) -> tuple[MatchTable, MatchTable]:
    from codetr.core.manifest import Manifest
    from codetr.evaluation.comparison.match_table import MASK_MATCHES, MATCHES, MatchTable

    sets = []
    for path in (first, second):
        if path.is_file():
            hint = "Give the annotation file of the results: --annotations instances_val2017.json."
            raise UserError("is a file, expected the folder of an evaluation", where=str(path), hint=hint)
        manifest = Manifest.read(path, "evaluation", verify=True)
        if MATCHES not in manifest.files:
            hint = "Run `codetr evaluate` again: another version wrote this evaluation."
            raise UserError(f"has no {MATCHES}", where=str(path), hint=hint)
        if masks and MASK_MATCHES not in manifest.files:
            raise UserError("this evaluation has no mask metrics", where=str(path), hint="Leave --masks out.")
        sets.append(manifest.summary.get("evaluation_set"))
    if sets[0] != sets[1]:
        hint = "Evaluate both models on the same split of the same dataset."
        problem = f"the evaluations are of different images or annotations ({sets[0]} and {sets[1]})"
        raise UserError(problem, where=f"{first} and {second}", hint=hint)
    name = MASK_MATCHES if masks else MATCHES
    return MatchTable.read(first / name), MatchTable.read(second / name)


def _of_files(annotations: Path, first: Path, second: Path, *, masks: bool) -> tuple[MatchTable, MatchTable]:
    from codetr.evaluation.comparison.match_table import MatchTable
    from codetr.evaluation.evaluate import evaluate_results
    from codetr.evaluation.metrics.coco import to_arrays
    from codetr.evaluation.metrics.matching import IouType
    from codetr.evaluation.tables.coco_json import check_masks, read_ground_truth, read_predictions

    ground_truth = read_ground_truth(annotations)

    def table(path: Path) -> MatchTable:
        if path.is_dir():
            hint = "Leave --annotations out to compare folders of evaluations, or give the predictions.json in them."
            raise UserError("is a folder, expected a COCO result file", where=str(path), hint=hint)
        results = read_predictions(path, ground_truth)
        if masks:
            check_masks(ground_truth, results)
        iou_type: IouType = "segm" if masks else "bbox"
        truth, predictions = to_arrays(ground_truth, results, iou_type)
        return MatchTable.of(evaluate_results(truth, predictions, iou_type).matching, truth)

    return table(first), table(second)


def _is_comparison(folder: Path) -> bool:
    from codetr.evaluation.report.comparison_page import PARTS

    return all((folder / name).is_file() for name in PARTS)


def _cells(row: ComparedMetric) -> tuple[str, ...]:
    from codetr.evaluation.comparison.compare import signed
    from codetr.evaluation.report.comparison_page import p_value

    return (
        row.name,
        _shown(row.first, "{:.4f}".format),
        _shown(row.second, "{:.4f}".format),
        _shown(row.difference, signed),
        "-" if row.p is None else p_value(row.p),
    )


def _shown(entry: Estimate, text: Callable[[float], str]) -> str:
    if entry.value is None:
        return "-"
    if entry.low is None or entry.high is None:
        return text(entry.value)
    return f"{text(entry.value)} [{text(entry.low)}, {text(entry.high)}]"
