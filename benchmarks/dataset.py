"""Datasets of the size of COCO and LVIS: preparing, opening, and what loader processes need, beside pycocotools.

    python benchmarks/dataset.py                      # COCO: 118,287 images, 860,001 objects, 80 classes
    python benchmarks/dataset.py --like lvis          # LVIS v1: 100,170 images, 1,270,141 objects, 1,203 classes
    python benchmarks/dataset.py --share 0.01         # a hundredth of that

Annotations are drawn from a seed, a polygon of 8 to 50 points for each object, and the lists and frequencies of LVIS.
Beside `prepare` stand the fastest JSON parsers there are, of which nothing is asked but Python objects, with Python's
garbage collector and without, and `prepare` with image files that are not opened: less what it takes for ten images,
which is mostly imports, that is what the annotations take. Images are tiny. Each row is a separate process; CPU
seconds are those of all of its threads, memory is the largest of all of it.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import importlib.util
import io
import json
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from codetr.data.config import SourceConfig
from codetr.data.dataset.split import Split
from codetr.data.ingest import build
from codetr.data.ingest.config import PrepareConfig
from codetr.data.ingest.image_check import CheckedImage
from codetr.data.ingest.image_list import ImageEntry
from codetr.steps import prepare as step

SIZES = {"coco": (118_287, 860_001, 80), "lvis": (100_170, 1_270_141, 1_203)}
"""Images, objects and classes of the training sets."""

RANKS, WORKERS = 2, 8
"""Training processes, and loader processes of each."""


def write_annotations(path: Path, sizes: NDArray[np.int64], objects: int, classes: int, *, lvis: bool) -> None:
    """Write a COCO or LVIS file of images of `sizes`, (images, 2) height and width, as published ones are written."""
    random = np.random.default_rng(0)
    images = np.sort(random.integers(0, len(sizes), objects))
    labels = 1 + random.integers(0, classes, objects)
    with path.open("w") as file:
        listed: list[dict[str, Any]] = [
            {"id": i + 1, "file_name": name_of(i), "height": height, "width": width}
            for i, (height, width) in enumerate(sizes.tolist())
        ]
        categories: list[dict[str, Any]] = [{"id": i, "name": f"class {i}"} for i in range(1, classes + 1)]
        if lvis:
            for image, absent in zip(listed, random.integers(1, classes + 1, (len(listed), 12)), strict=True):
                lists = np.unique(absent).tolist()
                image |= {"neg_category_ids": lists[2:], "not_exhaustive_category_ids": lists[:2]}
            for category in categories:
                category |= {"frequency": "rcf"[category["id"] % 3], "image_count": category["id"]}
        file.write(f'{{"images": {json.dumps(listed)}, "annotations": [')
        for k in range(objects):
            height, width = sizes[images[k]]
            angles = np.linspace(0, 2 * np.pi, int(random.integers(8, 50)), endpoint=False)
            radius = random.uniform(0.1, 0.4) * min(height, width)
            circle = np.stack((np.cos(angles), np.sin(angles)), axis=1)
            segmentation = (np.array((width, height)) / 2 + radius * circle).round(2)
            corner = segmentation.min(axis=0)
            entry = {
                "segmentation": [segmentation.flatten().tolist()],
                "area": round(3.14 * radius**2, 4),
                "iscrowd": 0,
                "image_id": int(images[k]) + 1,
                "bbox": [*corner.tolist(), *(segmentation.max(axis=0) - corner).round(2).tolist()],
                "category_id": int(labels[k]),
                "id": k + 1,
            }
            file.write((", " if k else "") + json.dumps(entry))
        file.write(f'], "categories": {json.dumps(categories)}}}')


def name_of(image: int) -> str:
    """Return the file name of an image."""
    return f"{image:012d}.jpg"


def write_images(folder: Path, sizes: NDArray[np.int64]) -> None:
    """Write one image file of each size, all different."""
    folder.mkdir()
    encoded = {}
    for i, (height, width) in enumerate(sizes.tolist()):
        if (height, width) not in encoded:
            buffer = io.BytesIO()
            Image.new("RGB", (width, height), "grey").save(buffer, "JPEG")
            encoded[height, width] = buffer.getvalue()
        (folder / name_of(i)).write_bytes(encoded[height, width] + i.to_bytes(4, "big"))


def memory(field: str, file: str = "smaps_rollup") -> float:
    """Return a memory figure of this process in MiB, from a file in /proc."""
    lines = Path("/proc/self", file).read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:")) / 2**10


def measured(function: Callable[..., object], *arguments: Any) -> tuple[float, float, float]:
    """Return seconds, CPU seconds and largest memory in MiB of a function in a separate process."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_measure, args=(theirs, function, arguments))
    process.start()
    theirs.close()
    try:
        return ours.recv()
    except EOFError:
        sys.exit(f"{function} failed")
    finally:
        process.join()


def _measure(pipe: Connection, function: Callable[..., object], arguments: tuple[Any, ...]) -> None:
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        before = time.perf_counter(), time.process_time()
        kept = function(*arguments)
        seconds = time.perf_counter() - before[0], time.process_time() - before[1]
    pipe.send((*seconds, memory("VmHWM", "status")))
    del kept


def parse(path: Path, parser: str, *, collect: bool) -> object:
    """Parse the text into Python objects, with or without the garbage collector."""
    if not collect:
        gc.disable()
    text = path.read_bytes()
    if parser == "json":
        return json.loads(text)
    if parser == "msgspec":
        return msgspec.json.decode(text)
    import orjson

    return orjson.loads(text)


def open_pycocotools(path: Path) -> object:
    """Open annotations with pycocotools."""
    from pycocotools.coco import COCO

    return COCO(str(path))


def open_split(dataset: Path) -> object:
    """Open a prepared dataset."""
    split = Split.open(dataset, "train")
    return split, split.record(len(split) // 2)


def prepared(train: Path, val: Path, images: Path, output: Path) -> None:
    """Run `codetr prepare`."""
    given = [(SourceConfig(annotations=str(path), images=str(images)),) for path in (train, val)]
    step.prepare(PrepareConfig(train=given[0], val=given[1]), output)


def prepared_unseen(train: Path, val: Path, images: Path, output: Path) -> None:
    """Run `codetr prepare` without opening image files: sizes are those of the annotations."""
    vars(build)["check_images"] = take_images
    prepared(train, val, images, output)


def take_images(entries: Sequence[ImageEntry], *_: Any, **__: Any) -> list[CheckedImage]:
    """Return the images as they are listed, unopened."""
    return [
        CheckedImage(
            entry.image_id, entry.names[0], *(entry.size or (1, 1)), True, f"sha256:{i:064x}", 1, entry.verified
        )
        for i, entry in enumerate(entries)
    ]


def loader_process(dataset: Path, seed: int, pipe: Connection) -> None:
    """Open the dataset, read every record in a random order, and send the private memory that this took, in MiB."""
    before = memory("Anonymous")
    split = Split.open(dataset, "train")
    for index in np.random.default_rng(seed).permutation(len(split)):
        split.record(int(index))
    pipe.send(memory("Anonymous") - before)
    pipe.recv()


def loader_memory(dataset: Path) -> float:
    """Return the largest growth, in MiB, of the private memory of a loader process that has read all records."""
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
        train, val, pictures = folder / "train.json", folder / "val.json", folder / "images"
        write_annotations(train, sizes, objects, classes, lvis=options.like == "lvis")
        write_annotations(val, sizes[:10], 10, classes, lvis=options.like == "lvis")
        write_images(pictures, sizes)
        print(f"{images:,} images, {objects:,} objects, {classes:,} classes; {train.stat().st_size >> 20} MiB")
        print(f"{'':44}{'seconds':>10}{'CPU':>10}{'MiB':>10}")

        def show(title: str, function: Callable[..., object], *arguments: Any) -> float:
            seconds, cpu, peak = measured(function, *arguments)
            print(f"{title:44}{seconds:>10.3f}{cpu:>10.3f}{peak:>10.0f}", flush=True)
            return cpu

        show("json", partial(parse, collect=True), train, "json")
        fastest = min(
            show(
                f"{parser}{'' if collect else ', no garbage collector'}", partial(parse, collect=collect), train, parser
            )
            for parser in ("msgspec", "orjson")
            if importlib.util.find_spec(parser)
            for how, collect in (("", True), (", no garbage collector", False))
        )
        show("pycocotools: open", open_pycocotools, train)
        show("prepare", prepared, train, val, pictures, folder / "dataset")
        constant = show("prepare of ten images, unseen", prepared_unseen, val, val, pictures, folder / "few")
        annotations = show("prepare, images unseen", prepared_unseen, train, val, pictures, folder / "unseen")
        show("open what prepare wrote, read one record", open_split, folder / "dataset")
        grown = loader_memory(folder / "dataset")
        print(f"{f'each of {RANKS} x {WORKERS} loader processes':44}{'':>20}{grown:>10.0f}")
        ratio = (annotations - constant) / fastest
        print(f"The annotations take {ratio:.2f} times the CPU seconds of the fastest parser.")


if __name__ == "__main__":
    main()
