"""Time, memory and numbers of detection metrics: ours beside pycocotools, lvis, hotcoco and faster-coco-eval.

    python benchmarks/evaluation.py                          # both sets at a tenth of their size
    python benchmarks/evaluation.py --fraction 1             # the sizes of COCO val2017 and LVIS v1 val
    python benchmarks/evaluation.py --fraction 1 --sets lvis --engines codetr

Ground truth and detections are drawn from a seed. Each engine runs in a separate process, on its form of the
input, which is made before the clock starts: results as dictionaries, or arrays where it takes them ("codetr,
results" is ours on dictionaries). The ratio is of CPU seconds of all threads, because elapsed time depends on
what else the machine was doing. Memory is the largest of the process, with that input and the libraries. The
difference is the largest between the summary's numbers and those of the reference, the first row. lvis, hotcoco and
faster-coco-eval are no dependencies of ours; what is not installed is left out.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import importlib.util
import io
import json
import logging
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Size:
    """Images, classes, objects and detections per image of a set."""

    images: int
    classes: int
    objects: int
    detections: int


SIZES = {"coco": Size(5_000, 80, 36_000, 100), "lvis": Size(19_809, 1_203, 244_000, 300)}
ENGINES = {
    "coco": ("pycocotools", "codetr", "codetr, results", "hotcoco", "faster-coco-eval"),
    "lvis": ("lvis", "codetr", "codetr, results", "hotcoco", "faster-coco-eval"),
}
MODULES = {"faster-coco-eval": "faster_coco_eval", "codetr, results": "codetr"}
SIDE = 640


@dataclass(frozen=True)
class Drawn:
    """A ground truth, and detections as arrays: image and class positions, boxes xywh in pixels, scores."""

    truth: dict[str, Any]
    image: NDArray[np.int64]
    label: NDArray[np.int64]
    boxes: NDArray[np.float64]
    score: NDArray[np.float64]

    def results(self) -> list[dict[str, Any]]:
        """Return the detections as COCO results."""
        rows = zip(self.image.tolist(), self.label.tolist(), self.boxes.tolist(), self.score.tolist(), strict=True)
        return [{"image_id": i + 1, "category_id": k + 1, "bbox": box, "score": score} for i, k, box, score in rows]

    def table(self) -> NDArray[np.float64]:
        """Return the detections as the array of pycocotools: image id, box, score, category id."""
        return np.column_stack([self.image + 1, self.boxes, self.score, self.label + 1])


def draw(name: str, fraction: float, seed: int = 0) -> Drawn:
    """Draw objects of many sizes and rare classes; detections are objects, moved, and guesses of lower scores."""
    size, random = SIZES[name], np.random.default_rng(seed)
    images, objects, classes = round(size.images * fraction), round(size.objects * fraction), size.classes
    share = 1 / np.arange(1, classes + 1)
    share /= share.sum()

    def boxes(count: int) -> NDArray[np.float64]:
        sides = np.exp(random.uniform(np.log(8), np.log(300), (count, 2)))
        return np.hstack([random.uniform(0, 1, (count, 2)) * (SIDE - sides), sides]).round(2)

    image = np.sort(random.integers(0, images, objects))
    label = random.choice(classes, objects, p=share)
    box = boxes(objects)
    crowd = random.random(objects) < (0.01 if name == "coco" else 0)
    truth: dict[str, Any] = {
        "images": [{"id": i + 1, "file_name": f"{i}.jpg", "height": SIDE, "width": SIDE} for i in range(images)],
        "categories": [{"id": k + 1, "name": f"class {k}"} for k in range(classes)],
        "annotations": [
            {"id": n, "image_id": i + 1, "category_id": k + 1, "bbox": b, "area": 0.7 * b[2] * b[3], "iscrowd": c}
            for n, (i, k, b, c) in enumerate(
                zip(image.tolist(), label.tolist(), box.tolist(), crowd.astype(int).tolist(), strict=True), start=1
            )
        ],
    }
    if name == "lvis":
        for k, category in enumerate(truth["categories"]):
            category["frequency"] = "fcr"[min(2, 3 * k // classes)]
        for entry in truth["images"]:
            entry["neg_category_ids"] = (random.choice(classes, 12, replace=False) + 1).tolist()
            entry["not_exhaustive_category_ids"] = (random.choice(classes, 1) + 1).tolist()

    # Up to three detections of each object, the rest of every image's are guesses.
    copies = np.repeat(np.arange(objects), 3)
    rank = np.arange(len(copies)) - np.searchsorted(image[copies], image[copies])
    copies = copies[rank < size.detections]
    moved = box[copies] + random.normal(0, 1, (len(copies), 4)) * box[copies][:, [2, 3, 2, 3]] * random.choice(
        [0.02, 0.08, 0.2], (len(copies), 1)
    )
    moved[:, 2:] = np.maximum(moved[:, 2:], 1)
    named = np.where(random.random(len(copies)) < 0.85, label[copies], random.choice(classes, len(copies), p=share))
    missing = size.detections - np.bincount(image[copies], minlength=images)
    guesses = int(missing.sum())
    where = np.concatenate([image[copies], np.repeat(np.arange(images), missing)])
    order = np.argsort(where, kind="stable")
    single = np.float32  # as detectors write them
    return Drawn(
        truth,
        where[order],
        np.concatenate([named, random.choice(classes, guesses, p=share)])[order],
        np.concatenate([moved, boxes(guesses)])[order].astype(single).astype(float),
        np.concatenate([random.beta(3, 2, len(copies)), random.beta(1, 6, guesses)])[order]
        .astype(single)
        .astype(float),
    )


Run = Callable[[], list[float]]
NAMES = ("AP", "AP50", "AP75", "APs", "APm", "APl", "APr", "APc", "APf", "AR@300", "ARs@300", "ARm@300", "ARl@300")


def prepare(engine: str, name: str, drawn: Drawn) -> Run:
    """Return the call that an engine has to run, with its input ready."""
    if engine == "pycocotools":
        return _pycocotools("pycocotools.coco", "pycocotools.cocoeval", "COCOeval", drawn)
    if engine == "faster-coco-eval" and name == "coco":
        return _pycocotools("faster_coco_eval", "faster_coco_eval", "COCOeval_faster", drawn)
    if engine == "faster-coco-eval":
        return _faster_lvis(drawn)
    if engine == "lvis":
        return _lvis(drawn)
    if engine == "hotcoco":
        return _hotcoco(name, drawn)
    return _codetr(name, drawn, results=engine != "codetr")


def _codetr(name: str, drawn: Drawn, *, results: bool) -> Run:
    from codetr.evaluation.metrics.coco import evaluate_coco
    from codetr.evaluation.metrics.lvis import evaluate_lvis
    from codetr.evaluation.tables.predictions import PredictionTable

    arrays = PredictionTable(drawn.image, drawn.label, drawn.boxes, drawn.score)
    found = drawn.results() if results else arrays
    evaluate = evaluate_coco if name == "coco" else evaluate_lvis
    return lambda: [-1.0 if value is None else value for value in evaluate(drawn.truth, found).summary.values()]


def _pycocotools(data: str, module: str, run: str, drawn: Drawn) -> Run:
    coco, evaluation = importlib.import_module(data).COCO, getattr(importlib.import_module(module), run)
    results = drawn.results()

    def go() -> list[float]:
        truth = coco()
        truth.dataset = drawn.truth
        truth.createIndex()
        run = evaluation(truth, truth.loadRes(results), "bbox")
        run.evaluate()
        run.accumulate()
        run.summarize()
        return np.asarray(run.stats)[:12].tolist()

    return go


def _lvis(drawn: Drawn) -> Run:
    lvis = importlib.import_module("lvis")
    np.float = float  # type: ignore[attr-defined]  # the package was written for an older NumPy
    results = drawn.results()

    def go() -> list[float]:
        truth = lvis.LVIS.__new__(lvis.LVIS)
        truth.logger, truth.dataset = logging.getLogger(), drawn.truth
        for annotation in drawn.truth["annotations"]:
            annotation["segmentation"] = []
        truth._create_index()
        run = lvis.LVISEval(truth, lvis.LVISResults(truth, results), "bbox")
        run.run()
        return [float(run.results[name]) for name in NAMES]

    return go


def _hotcoco(name: str, drawn: Drawn) -> Run:
    hotcoco = importlib.import_module("hotcoco")
    table = drawn.table()

    def go() -> list[float]:
        truth = hotcoco.COCO(drawn.truth)
        if name == "coco":
            run = hotcoco.COCOeval(truth, truth.load_res(table), "bbox")
            run.run()
            return np.asarray(run.stats).tolist()
        run = hotcoco.LVISeval(truth, hotcoco.LVISResults(truth, table), "bbox")
        run.run()
        numbers = run.get_results()
        return [float(numbers[name]) for name in NAMES]

    return go


def _faster_lvis(drawn: Drawn) -> Run:
    faster = importlib.import_module("faster_coco_eval")
    results = drawn.results()

    def go() -> list[float]:
        truth = faster.COCO(drawn.truth)
        run = faster.COCOeval_faster(truth, truth.loadRes(results), "bbox", lvis_style=True)
        run.params.maxDets = [SIZES["lvis"].detections]
        run.evaluate()
        run.accumulate()
        run.summarize()
        # It gives AP six times and then recalls, of which the second and third are not used; no AP by frequency.
        stats = np.asarray(run.stats).tolist()
        return [*stats[:6], np.nan, np.nan, np.nan, stats[6], *stats[9:12]]

    return go


def measure_one(engine: str, name: str, fraction: float) -> dict[str, Any]:
    """Run one engine in this process."""
    run = prepare(engine, name, draw(name, fraction))
    before, cpu = time.perf_counter(), time.process_time()
    with contextlib.redirect_stdout(io.StringIO()):
        numbers = run()
    seconds, cpu = time.perf_counter() - before, time.process_time() - cpu
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return {"numbers": numbers, "seconds": seconds, "cpu": cpu, "memory": memory}


def main() -> None:
    """Measure and print a table for each set."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fraction", type=float, default=0.1, help="share of the images (default: %(default)s)")
    parser.add_argument("--sets", nargs="+", choices=list(SIZES), default=list(SIZES))
    parser.add_argument("--engines", nargs="+", help="only these (default: all that are installed)")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        # The library hotcoco writes its table past Python's streams.
        stdout = os.dup(1)
        os.dup2(2, 1)
        measured = measure_one(arguments.engines[0], arguments.sets[0], arguments.fraction)
        os.write(stdout, json.dumps(measured).encode())
        return
    for name in arguments.sets:
        size = SIZES[name]
        images, objects = round(size.images * arguments.fraction), round(size.objects * arguments.fraction)
        print(
            f"\n{name}: {images:,} images, {objects:,} objects, {size.classes:,} classes, {size.detections} detections"
        )
        print(f"{'engine':<18}{'seconds':>9}{'CPU':>9}{'times less':>12}{'GiB':>7}{'difference':>12}")
        reference: dict[str, Any] | None = None
        for engine in ENGINES[name]:
            if arguments.engines and engine not in arguments.engines:
                continue
            if importlib.util.find_spec(MODULES.get(engine, engine)) is None:
                print(f"{engine:<18} is not installed")
                continue
            command = [sys.executable, __file__, "--one", "--engines", engine, "--sets", name]
            command += ["--fraction", str(arguments.fraction)]
            done = subprocess.run(command, capture_output=True, check=False)
            if done.returncode:
                print(f"{engine:<18} failed: {done.stderr.decode().strip().splitlines()[-1:]}")
                continue
            measured = json.loads(done.stdout)
            reference = reference or measured
            apart = np.nanmax(np.abs(np.subtract(measured["numbers"], reference["numbers"])))
            ratio = reference["cpu"] / measured["cpu"]
            memory = measured["memory"] / 2**30
            print(
                f"{engine:<18}{measured['seconds']:>9.2f}{measured['cpu']:>9.2f}{ratio:>12.1f}{memory:>7.2f}{apart:>12.1g}"
            )


if __name__ == "__main__":
    main()
