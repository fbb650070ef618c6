"""`codetr score`: metrics of a result file."""

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
    """Compute the metrics of a COCO result file of any program, as JSON: equal to pycocotools to the last digit.

    For an LVIS annotation file they are LVIS's metrics, equal to those of the package lvis.

    [cyan]codetr score instances_val2017.json results.json[/]
    """
    import json

    from codetr.evaluation.evaluate import evaluate_results
    from codetr.evaluation.metrics.coco import to_arrays
    from codetr.evaluation.metrics.matching import IouType
    from codetr.evaluation.tables.coco_json import check_masks, read_ground_truth, read_predictions

    iou_type: IouType = "segm" if masks else "bbox"
    ground_truth = read_ground_truth(annotations)
    predictions = read_predictions(results, ground_truth)
    if masks:
        check_masks(ground_truth, predictions, truth_file=str(annotations), results_file=str(results))
    truth, table = to_arrays(ground_truth, predictions, iou_type)
    typer.echo(json.dumps(evaluate_results(truth, table, iou_type).flat, indent=2))
