"""Runs of `codetr train` in separate processes, to be stopped, killed and finished."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import yaml

from codetr.core.files import sha256_file
from codetr.data.config import AugmentConfig, LoaderConfig, PreprocessConfig, SourceConfig
from codetr.data.ingest.config import PrepareConfig
from codetr.data.synthetic import draw_sample_data
from codetr.steps.prepare import prepare
from codetr.training.config import CheckpointConfig, EmaConfig, ScheduleConfig, TrainingConfig
from codetr.zoo.recipe import Recipe
from tests.support.paths import ROOT
from tests.support.training.tiny_training import tiny_config

RECIPE = Recipe(
    name="test",
    description="Three epochs of a very small detector, in seconds.",
    model=tiny_config(),
    backbone_weights=None,
    preprocess=PreprocessConfig(short_side=64, long_side=96),
    augment=AugmentConfig(short_sides=(48, 64), long_side=96, crop=None),
    loader=LoaderConfig(batch_size=1, workers=1),
    training=TrainingConfig(
        epochs=3,
        accumulate=2,
        schedule=ScheduleConfig(warmup_iterations=4, milestones=(2,)),
        ema=EmaConfig(momentum=0.01, warmup_iterations=5),
        checkpoint=CheckpointConfig(every_steps=3, keep=2),
        validate_every=2,
        publish="last",
        log_every=1,
    ),
)

IMAGES, VALIDATION_IMAGES = 8, 4
SHORT = {"validate_every": 0, "schedule": ScheduleConfig()}


def drawn_dataset(folder: Path) -> Path:
    """A dataset of shapes, `IMAGES` of them to train on, prepared within `folder`."""
    total = IMAGES + VALIDATION_IMAGES
    draw_sample_data(folder / "shapes", total, val_fraction=VALIDATION_IMAGES / total, sides=(64, 96), objects=(1, 3))
    sources = {
        split: SourceConfig(
            annotations=str(folder / "shapes" / split / "annotations.json"),
            images=str(folder / "shapes" / split / "images"),
        )
        for split in ("train", "val")
    }
    prepare(PrepareConfig(**sources), folder / "dataset")
    return folder / "dataset"


def train_command(folder: Path, dataset: Path, *, processes: int = 1, **settings: Any) -> list[str]:
    """Return the command that trains `RECIPE`, changed by `settings`, with everything it writes in `folder`."""
    recipe = folder / "recipe.yaml"
    recipe.write_text(yaml.safe_dump(RECIPE.model_copy(update=settings).model_dump(mode="json")))
    command = [sys.executable, "-m", "codetr", "train", "--recipe", str(recipe), "-d", str(dataset)]
    command += ["-o", str(folder / "model"), "--checkpoints", str(folder / "checkpoints")]
    # Tests run on machines with one core too.
    return [*command, "--nproc", str(processes), "--force"]


@contextmanager
def started(folder: Path, dataset: Path, *, processes: int = 1, **settings: Any) -> Iterator[subprocess.Popen[bytes]]:
    """Start `codetr train` in a session; kill whatever is left of it at the end."""
    command = train_command(folder, dataset, processes=processes, **settings)
    log = (folder / "log.txt").open("a")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, env=environment, stderr=log, stdout=log, start_new_session=True)
    try:
        yield process
    finally:
        kill(process)
        log.close()


def kill(process: subprocess.Popen[bytes]) -> None:
    """SIGKILL the command and every process it started; torchrun starts each worker in a session."""
    for pid in [process.pid, *descendants(process.pid)]:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait()


def descendants(pid: int) -> list[int]:
    parents: dict[int, int] = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            parents[int(entry.parent.name)] = int(entry.read_text().rpartition(")")[2].split()[1])
    found = [pid]
    for ancestor in found:
        found += [child for child, parent in parents.items() if parent == ancestor]
    return found[1:]


def finish(folder: Path, dataset: Path, **options: Any) -> tuple[int, str]:
    with started(folder, dataset, **options) as process:
        code = process.wait(300)
    return code, (folder / "log.txt").read_text()


def rows(folder: Path, checkpoints: str = "checkpoints") -> list[str]:
    path = folder / checkpoints / "metrics.jsonl"
    return [line for line in path.read_text().splitlines() if '"lr"' in line] if path.exists() else []


def wait_for_step(folder: Path, step: int, process: subprocess.Popen[bytes]) -> None:
    """Wait until the run has done `step` steps."""
    end = time.monotonic() + 120
    while len(rows(folder)) < step:
        assert process.poll() is None, (folder / "log.txt").read_text()
        assert time.monotonic() < end, (folder / "log.txt").read_text()
        time.sleep(0.005)


def weights(model: Path) -> str:
    return sha256_file(model / "model.safetensors")
