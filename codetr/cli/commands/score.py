"""`codetr score`: metrics of prediction files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def score(
    *,
    annotations: Annotated[Path, typer.Argument(metavar="ANNOTATIONS", help="A COCO or LVIS annotation file.")],
    results: Annotated[Path, typer.Argument(metavar="RESULTS", help="Detections as a COCO result file.")],
    masks: Annotated[bool, typer.Option("--masks", help="Compare masks instead of boxes.")] = False,
) -> None:
    """COCO metrics of any result file, of this or another program, as JSON: pycocotools' numbers to the last digit.

    For an LVIS annotation file the metrics are LVIS's, equal to those of the package lvis.

    [cyan]codetr score instances_val2017.json results.json[/]
    """
    import json

    from codetr.evaluation.evaluate import evaluate_results
    from codetr.evaluation.metrics.coco import arrays
    from codetr.evaluation.tables.coco_json import check_masks, read_ground_truth, read_predictions

    ground_truth = read_ground_truth(annotations)
    predictions = read_predictions(results, ground_truth)
    if masks:
        check_masks(ground_truth, predictions, truth_file=str(annotations), results_file=str(results))
    truth, found = arrays(ground_truth, predictions, "segm" if masks else "bbox")
    metrics = evaluate_results(truth, found, "segm" if masks else "bbox")
    typer.echo(json.dumps(metrics.flat, indent=2))
