"""Intervals of detection metrics: CPU seconds of drawing and measuring sets of images, and of matching each again.

    python benchmarks/bootstrap.py                       # a tenth of the size of COCO val2017 and LVIS v1 val
    python benchmarks/bootstrap.py --coverage 200        # how often intervals cover the true value
    python benchmarks/bootstrap.py --fraction 1          # their sizes, the latter with 5.9 million detections

Ground truth and detections are those of `benchmarks/evaluation.py`. "Each set again" is the time that our metrics need
to match and measure one set of that size, times the number of sets; pycocotools needs tens of times as long. That a
set has the metrics of a dataset with these images is a test, tests/evaluation/comparison/test_resampled_metrics.py.

With `--coverage N`, N test sets are drawn instead, and two equally good detectors are compared on each: in how many the
95 % interval of AP covers the mean of all sets, and that of the difference covers 0.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from pathlib import Path

import evaluation
import numpy as np

from codetr.evaluation.comparison.bootstrap import Estimate, draw_sets
from codetr.evaluation.comparison.compare import EvaluationComparison, compare_evaluations
from codetr.evaluation.comparison.match_table import MatchTable
from codetr.evaluation.comparison.resampled_metrics import resampled_metrics
from codetr.evaluation.evaluate import evaluate_results
from codetr.evaluation.tables.ground_truth import GroundTruth
from codetr.evaluation.tables.predictions import PredictionTable


def cover(name: str, fraction: float, sets: int, resamples: int) -> None:
    """Print how often the intervals cover the true values."""
    found: list[EvaluationComparison] = []
    for seed in range(sets):
        drawn = evaluation.draw(name, fraction, 1000 + seed)
        truth = GroundTruth.of_coco(drawn.truth)
        random = np.random.default_rng(seed)
        sides = []
        for _ in range(2):
            boxes = drawn.boxes + random.normal(0, 0.03, drawn.boxes.shape) * drawn.boxes[:, [2, 3, 2, 3]]
            boxes[:, 2:] = np.maximum(boxes[:, 2:], 1)
            predictions = PredictionTable(drawn.image, drawn.label, boxes, drawn.score)
            sides.append(MatchTable.of(evaluate_results(truth, predictions).matching, truth))
        found.append(compare_evaluations((sides[0], sides[1]), ("a", "b"), sets=resamples, confidence=0.95, seed=seed))
    print(f"\n{name}: {sets} test sets of {found[0].images:,} images, {resamples} sets drawn of each\n")
    print("| | mean | its interval covers the mean | that of the difference covers 0 |\n| --- | --- | --- | --- |")
    for position, row in enumerate(found[0].summary):
        rows = [entry.summary[position] for entry in found]
        mean = np.mean([row.first.value or 0.0 for row in rows])
        metric = coverage([entry.first for entry in rows], float(mean))
        difference = coverage([entry.difference for entry in rows], 0.0)
        print(f"| {row.name} | {mean:.4f} | {metric} | {difference} |")
    significant, classes = sum(len(entry.significant) for entry in found), sum(len(entry.classes) for entry in found)
    print(f"\nOf {classes:,} equally good classes {significant} had a significant difference.")


def coverage(estimates: list[Estimate], value: float) -> str:
    """Return the share of the intervals that cover a value, and their number if some metrics have none."""
    inside = [
        entry.low <= value <= entry.high for entry in estimates if entry.low is not None and entry.high is not None
    ]
    return f"{np.mean(inside):.2f}" + (f" of {len(inside)}" if len(inside) < len(estimates) else "")


def main() -> None:
    """Measure both sets."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fraction", type=float, default=0.1, help="of the images of COCO val2017 and LVIS v1 val")
    parser.add_argument("--sets", type=int, default=1000, help="how many to draw")
    parser.add_argument(
        "--coverage", type=int, metavar="N", help="draw N test sets and print how often intervals cover the true values"
    )
    arguments = parser.parse_args()
    if arguments.coverage:
        for name in evaluation.SIZES:
            cover(name, arguments.fraction, arguments.coverage, arguments.sets)
        return
    print("| | images | measured once | sets | CPU seconds | each set again | ratio | MiB | matches.safetensors, MB |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for name in evaluation.SIZES:
        drawn = evaluation.draw(name, arguments.fraction)
        truth = GroundTruth.of_coco(drawn.truth)
        predictions = PredictionTable(drawn.image, drawn.label, drawn.boxes, drawn.score)
        start = time.process_time()
        metrics = evaluate_results(truth, predictions)
        once = time.process_time() - start
        table = MatchTable.of(metrics.matching, truth)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "matches.safetensors"
            table.write(path)
            size = path.stat().st_size / 1e6
        start = time.process_time()
        resampled_metrics(table, draw_sets(len(truth.image_ids), arguments.sets, seed=0))
        seconds = time.process_time() - start
        again = once * arguments.sets
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        cells = (len(truth.image_ids), f"{once:.2f} s", arguments.sets, f"{seconds:.1f}", f"{again:.0f}")
        print(f"| {name} |", " | ".join(map(str, cells)), f"| {again / seconds:.0f} | {memory:.0f} | {size:.1f} |")


if __name__ == "__main__":
    main()
