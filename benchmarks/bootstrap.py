"""Intervals of detection metrics: CPU seconds of drawing and measuring sets of images, beside measuring each anew.

    python benchmarks/bootstrap.py                       # a tenth of the size of COCO val2017 and LVIS v1 val
    python benchmarks/bootstrap.py --fraction 1          # their sizes, the latter with 5.9 million detections

Ground truth and detections are those of `benchmarks/evaluation.py`. "Anew" is the time that our own metrics need to
match and measure one set of that size, times the number of sets; pycocotools needs tens of times as long. That a set is
measured as if it had been made is a test, tests/evaluation/test_weighted.py.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from pathlib import Path

import evaluation

from codetr.evaluation.arrays import GroundTruth, Predictions
from codetr.evaluation.bootstrap import draw_sets
from codetr.evaluation.measure import evaluate_results
from codetr.evaluation.outcomes import Outcomes
from codetr.evaluation.weighted import weighted_values


def main() -> None:
    """Measure both sets."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fraction", type=float, default=0.1, help="of the images of COCO val2017 and LVIS v1 val")
    parser.add_argument("--sets", type=int, default=1000, help="how many to draw")
    arguments = parser.parse_args()
    print("| | images | measured once | sets | CPU seconds | anew | ratio | MiB | outcomes.npz, MB |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for name in evaluation.SIZES:
        drawn = evaluation.draw(name, arguments.fraction)
        truth = GroundTruth.of_coco(drawn.truth)
        predictions = Predictions(drawn.image, drawn.label, drawn.boxes, drawn.score)
        start = time.process_time()
        metrics = evaluate_results(truth, predictions)
        once = time.process_time() - start
        outcomes = Outcomes.of(metrics.matching, truth)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "outcomes.npz"
            outcomes.write(path)
            size = path.stat().st_size / 1e6
        start = time.process_time()
        weighted_values(outcomes, draw_sets(len(truth.image_ids), arguments.sets, seed=0))
        seconds = time.process_time() - start
        anew = once * arguments.sets
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        cells = (len(truth.image_ids), f"{once:.2f} s", arguments.sets, f"{seconds:.1f}", f"{anew:.0f}")
        print(f"| {name} |", " | ".join(map(str, cells)), f"| {anew / seconds:.0f} | {memory:.0f} | {size:.1f} |")


if __name__ == "__main__":
    main()
