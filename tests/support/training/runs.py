"""Runs of `codetr train` in separate processes, to be stopped, killed and finished."""

import os
import signal
import time
from collections.abc import Iterator, Sequence
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
from tests.support.forked import ForkedProcess, forked_codetr, rank_environments
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

ONE_EPOCH = RECIPE.changed(
    [("training.epochs", 1), ("training.validate_every", 0), ("training.schedule", ScheduleConfig().model_dump())]
)
"""The shortest run there is."""


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


def train_arguments(folder: Path, dataset: Path, *, processes: int = 1, **settings: Any) -> list[str]:
    """Return the arguments of `codetr` that train `RECIPE`, changed by `settings`, writing to `folder` only."""
    recipe = folder / "recipe.yaml"
    recipe.write_text(yaml.safe_dump(RECIPE.model_copy(update=settings).model_dump(mode="json")))
    arguments = ["train", "--recipe", str(recipe), "-d", str(dataset)]
    arguments += ["-o", str(folder / "model"), "--checkpoints", str(folder / "checkpoints")]
    # Tests run on machines with one core too.
    return [*arguments, "--nproc", str(processes), "--force"]


class Run:
    """`codetr train` on one process or several, in sessions of their own."""

    def __init__(self, processes: Sequence[ForkedProcess]) -> None:
        self.processes = processes

    def poll(self) -> int | None:
        """Return the exit code once all have ended: the first that is not 0."""
        codes = [process.poll() for process in self.processes]
        return None if None in codes else next(filter(None, codes), 0)

    def wait(self, timeout: float) -> int:
        """Wait for the end of each, and return the exit code as `poll` does."""
        return next(filter(None, [process.wait(timeout) for process in self.processes]), 0)

    def send_signal(self, number: signal.Signals) -> None:
        """Send each a signal."""
        for process in self.processes:
            process.send_signal(number)

    def kill(self) -> None:
        """SIGKILL them and every process they started; torchrun starts each worker in a session."""
        for pid in [pid for process in self.processes for pid in [process.pid, *descendants(process.pid)]]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for process in self.processes:
            process.wait()


@contextmanager
def started(
    folder: Path, dataset: Path, *, processes: int = 1, launcher: bool = False, **settings: Any
) -> Iterator[Run]:
    """Start `codetr train`; kill whatever is left of it at the end.

    Args:
        folder: for everything that it writes, and its output, `log.txt`.
        dataset: to train on.
        processes: how many it is trained on.
        launcher: start these by `--nproc`, which takes them long, not as ranks that find each other.
        settings: that differ from `RECIPE`.
    """
    arguments = train_arguments(folder, dataset, processes=processes if launcher else 1, **settings)
    environment = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    ranks = [{}] if launcher or processes == 1 else rank_environments(processes)
    run = Run([forked_codetr(arguments, log=folder / "log.txt", **environment, **rank) for rank in ranks])
    try:
        yield run
    finally:
        run.kill()


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


def wait_for_step(folder: Path, step: int, process: Run) -> None:
    """Wait until the run has done `step` steps."""
    end = time.monotonic() + 120
    while len(rows(folder)) < step:
        assert process.poll() is None, (folder / "log.txt").read_text()
        assert time.monotonic() < end, (folder / "log.txt").read_text()
        time.sleep(0.005)


def weights(model: Path) -> str:
    return sha256_file(model / "model.safetensors")
