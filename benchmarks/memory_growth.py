"""Memory of a training run with masks over thousands of steps: does it grow?

    python benchmarks/memory_growth.py                       # 2000 steps of small images, half an hour on a core
    python benchmarks/memory_growth.py --steps 200 --sides 128 448 --batch 2

Trains the recipe tiny with a mask head on drawn images of many sizes, and reads the resident memory of the training
process and of its loader process from /proc (Linux) twenty times on the way. The last column is the largest so far.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from codetr.core.system.parent_watch import tied_children
from codetr.data.config import SourceConfig
from codetr.data.ingest.config import PrepareConfig
from codetr.data.synthetic import draw_sample_data
from codetr.steps.prepare import prepare

IMAGES = 100


def resident(pid: int) -> int:
    """Return the resident memory of a process in MiB, without the files that it has mapped; 0 if it has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith(("RssAnon", "RssShmem"))) >> 10


def children(pid: int) -> list[int]:
    """Return the processes that a process has started."""
    path = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(child) for child in path.read_text(encoding="utf-8").split()] if path.exists() else []


def measure(folder: Path, *, steps: int, sides: tuple[int, int], batch: int) -> None:
    """Train in another process, and print a table of its memory."""
    draw_sample_data(folder / "shapes", IMAGES, val_fraction=0.1, sides=sides, objects=(1, 8))
    splits = {
        split: SourceConfig(
            annotations=str(folder / "shapes" / split / "annotations.json"),
            images=str(folder / "shapes" / split / "images"),
        )
        for split in ("train", "val")
    }
    prepare(PrepareConfig(**splits), folder / "dataset")
    steps_per_epoch = -(-(IMAGES - IMAGES // 10) // batch)
    short_sides = list(range(sides[0], sides[1] + 1, 16))
    settings = {
        "model.roi.mask": "{}",
        "training.epochs": -(-steps // steps_per_epoch),
        "training.validate_every": 0,
        "training.schedule.milestones": "[]",
        "training.log_every": 1,
        "loader.batch_size": batch,
        "augment.short_sides": json.dumps(short_sides),
        "augment.long_side": 2 * sides[1],
    }
    command = [sys.executable, "-m", "codetr", "train", "--recipe", "tiny", "-d", str(folder / "dataset")]
    command += ["-o", str(folder / "model"), "--checkpoints", str(folder / "checkpoints")]
    command += [argument for name, value in settings.items() for argument in ("--set", f"{name}={value}")]
    rows = folder / "checkpoints" / "metrics.jsonl"
    print(f"{'step':>6} {'training':>9} {'loader':>7} {'largest':>8}   MiB")
    largest = shown = 0
    with tied_children(), subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as process:
        while process.poll() is None:
            time.sleep(0.5)
            training, loader = resident(process.pid), sum(map(resident, children(process.pid)))
            largest = max(largest, training)
            step = rows.read_bytes().count(b"\n") if rows.exists() else 0
            if step >= shown + steps // 20:
                shown = step
                print(f"{step:>6} {training:>9} {loader:>7} {largest:>8}", flush=True)
    if process.returncode:
        sys.exit(f"training ended with code {process.returncode}")


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--sides", type=int, nargs=2, default=(64, 160), help="pixels, shortest and longest short side")
    parser.add_argument("--batch", type=int, default=1)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        measure(Path(folder), steps=arguments.steps, sides=tuple(arguments.sides), batch=arguments.batch)


if __name__ == "__main__":
    main()
