"""Datasets of the size of COCO and LVIS: preparing, opening, and what loader processes need, beside pycocotools.

    python benchmarks/dataset.py                      # COCO: 118,287 images, 860,001 objects, 80 classes
    python benchmarks/dataset.py --like lvis          # LVIS v1: 100,170 images, 1,270,141 objects, 1,203 classes
    python benchmarks/dataset.py --share 0.01         # a hundredth of that

Annotations are drawn from a seed, a polygon of 8 to 50 points for each object. Images are tiny, so that the time is
that of the annotations and of opening and hashing files, which is shown apart. Each row is a process of its own.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import io
import json
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from codetr.data.check import check_images
from codetr.data.coco_file import CocoFile
from codetr.data.columns import Annotations
from codetr.data.config import SourceConfig
from codetr.data.dataset import Split
from codetr.data.entries import read_image_entries
from codetr.data.findings import Findings
from codetr.data.ids import ImageIds
from codetr.steps.prepare import PrepareConfig, prepare

SIZES = {"coco": (118_287, 860_001, 80), "lvis": (100_170, 1_270_141, 1_203)}
"""Images, objects and classes of the training sets."""

RANKS, WORKERS = 2, 8
"""Training processes, and loader processes of each."""


def write_annotations(path: Path, sizes: NDArray[np.int64], objects: int, classes: int) -> None:
    """A COCO file of images of `sizes` (images, 2: height, width), as published ones are written."""
    random = np.random.default_rng(0)
    images = np.sort(random.integers(0, len(sizes), objects))
    labels = 1 + random.integers(0, classes, objects)
    with path.open("w") as file:
        listed = ", ".join(
            json.dumps({"id": i + 1, "file_name": name_of(i), "height": height, "width": width})
            for i, (height, width) in enumerate(sizes.tolist())
        )
        file.write(f'{{"images": [{listed}], "annotations": [')
        for k in range(objects):
            height, width = sizes[images[k]]
            angles = np.linspace(0, 2 * np.pi, int(random.integers(8, 50)), endpoint=False)
            radius = random.uniform(0.1, 0.4) * min(height, width)
            circle = np.stack((np.cos(angles), np.sin(angles)), axis=1)
            outline = (np.array((width, height)) / 2 + radius * circle).round(2)
            corner = outline.min(axis=0)
            entry = {
                "segmentation": [outline.flatten().tolist()],
                "area": round(3.14 * radius**2, 4),
                "iscrowd": 0,
                "image_id": int(images[k]) + 1,
                "bbox": [*corner.tolist(), *(outline.max(axis=0) - corner).round(2).tolist()],
                "category_id": int(labels[k]),
                "id": k + 1,
            }
            file.write((", " if k else "") + json.dumps(entry))
        names = ", ".join(json.dumps({"id": i, "name": f"class {i}"}) for i in range(1, classes + 1))
        file.write(f'], "categories": [{names}]}}')


def name_of(image: int) -> str:
    """File name of an image."""
    return f"{image:012d}.jpg"


def write_images(folder: Path, sizes: NDArray[np.int64]) -> None:
    """A file of each size, no two of which are the same."""
    folder.mkdir()
    encoded = {}
    for i, (height, width) in enumerate(sizes.tolist()):
        if (height, width) not in encoded:
            buffer = io.BytesIO()
            Image.new("RGB", (width, height), "grey").save(buffer, "JPEG")
            encoded[height, width] = buffer.getvalue()
        (folder / name_of(i)).write_bytes(encoded[height, width] + i.to_bytes(4, "big"))


def memory(field: str, file: str = "smaps_rollup") -> float:
    """A figure of this process' memory, in MiB, from a file in /proc."""
    lines = Path("/proc/self", file).read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:")) / 2**10


def measured(function: Callable[..., object], *arguments: Any) -> tuple[float, float]:
    """Seconds and largest memory in MiB of a function in a process of its own."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_measure, args=(theirs, function, arguments))
    process.start()
    theirs.close()
    try:
        return ours.recv()
    except EOFError:
        sys.exit(f"{function.__name__} failed")
    finally:
        process.join()


def _measure(pipe: Connection, function: Callable[..., object], arguments: tuple[Any, ...]) -> None:
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        before = time.perf_counter()
        kept = function(*arguments)
        seconds = time.perf_counter() - before
    pipe.send((seconds, memory("VmHWM", "status")))
    del kept


def parse_json(path: Path) -> object:
    """What Python itself needs for the text."""
    return json.loads(path.read_bytes())


def parse_orjson(path: Path) -> object:
    """What the fastest parser to Python objects needs for it."""
    import orjson

    return orjson.loads(path.read_bytes())


def open_pycocotools(path: Path) -> object:
    """The usual way to open annotations."""
    from pycocotools.coco import COCO

    return COCO(str(path))


def open_split(dataset: Path) -> object:
    """Open a prepared dataset."""
    split = Split.open(dataset, "train")
    return split, split.record(len(split) // 2)


def prepared(annotations: Path, images: Path, output: Path) -> None:
    """`codetr prepare`."""
    prepare(PrepareConfig(train=(SourceConfig(annotations=str(annotations), images=str(images)),)), output)


def checked(annotations: Path, images: Path) -> None:
    """The part of it that opens, decodes and hashes the images, on as many threads; the file is read besides."""
    content = json.loads(annotations.read_bytes())
    findings = Findings()
    ids = ImageIds([entry["id"] for entry in content["images"]])
    file = CocoFile(content["images"], Annotations([]), content["categories"])
    entries = read_image_entries(file, ids, findings, str(annotations))
    check_images(entries, images, findings, workers=2 * (os.cpu_count() or 1), label="images")


def loader_process(dataset: Path, seed: int, pipe: Connection) -> None:
    """Open the dataset, read every record in an order of its own, and say what memory of its own that took."""
    before = memory("Anonymous")
    split = Split.open(dataset, "train")
    for index in np.random.default_rng(seed).permutation(len(split)):
        split.record(int(index))
    pipe.send(memory("Anonymous") - before)
    pipe.recv()


def loader_memory(dataset: Path) -> float:
    """Largest growth, in MiB, of the own memory of a loader process that has read all records."""
    context = multiprocessing.get_context("spawn")
    ends = []
    for seed in range(RANKS * WORKERS):
        ours, theirs = context.Pipe()
        context.Process(target=loader_process, args=(dataset, seed, theirs)).start()
        ends.append(ours)
    grown = [end.recv() for end in ends]
    for end in ends:
        end.send(None)
    return max(grown)


def main() -> None:
    """Write the files, measure, print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--like", choices=SIZES, default="coco")
    parser.add_argument("--share", type=float, default=1.0, help="of the images and objects")
    parser.add_argument("--folder", type=Path, help="where some 3 GB can be written for a while")
    options = parser.parse_args()
    images, objects, classes = SIZES[options.like]
    images, objects = int(images * options.share), int(objects * options.share)
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        sizes = np.random.default_rng(1).integers(24, 41, (images, 2))
        annotations, pictures, dataset = folder / "train.json", folder / "images", folder / "dataset"
        write_annotations(annotations, sizes, objects, classes)
        write_images(pictures, sizes)
        print(f"{images:,} images, {objects:,} objects, {classes:,} classes; {annotations.stat().st_size >> 20} MiB")
        print(f"{'':44}{'seconds':>10}{'MiB':>10}")
        rows: list[tuple[str, Callable[..., object], tuple[Any, ...]]] = [
            ("Python's json", parse_json, (annotations,)),
            ("pycocotools: open", open_pycocotools, (annotations,)),
            ("prepare", prepared, (annotations, pictures, dataset)),
            ("  of that: images (json beside)", checked, (annotations, pictures)),
            ("open what prepare wrote, read one record", open_split, (dataset,)),
        ]
        if importlib.util.find_spec("orjson"):
            rows.insert(1, ("orjson", parse_orjson, (annotations,)))
        for title, function, arguments in rows:
            seconds, peak = measured(function, *arguments)
            print(f"{title:44}{seconds:>10.3f}{peak:>10.0f}", flush=True)
        print(f"{f'each of {RANKS} x {WORKERS} loader processes':44}{'':>10}{loader_memory(dataset):>10.0f}")


if __name__ == "__main__":
    main()
