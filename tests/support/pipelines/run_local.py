"""`python -m pipelines run-local` on a drawn dataset with a very small recipe."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import yaml

from codetr.data.synthetic import draw_sample_data
from tests.support.paths import ROOT

SMALL = {
    "training.epochs": 100,
    "training.threads": 1,
    "training.log_every": 1,
    "training.schedule.milestones": [],
    "preprocess.short_side": 64,
    "preprocess.long_side": 96,
    "augment.short_sides": [64],
    "augment.long_side": 96,
    "model.query.transformer.encoder_layers": 1,
    "model.query.transformer.decoder_layers": 1,
    "loader.batch_size": 1,
    "loader.workers": 1,
}
"""What differs from the recipe `tiny`: small images, many steps."""

ENVIRONMENT = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "WANDB_MODE": "disabled"}


def drawn_params(folder: Path, images: int) -> Path:
    """Draw data in `folder` and return a params file that names it."""
    draw_sample_data(folder / "data", images, sides=(64, 96))
    sources = {
        split: {"annotations": f"{folder}/data/{split}/annotations.json", "images": f"{folder}/data/{split}/images"}
        for split in ("train", "val")
    }
    path = folder / "params.yaml"
    path.write_text(yaml.safe_dump({"prepare": sources, "train": {"recipe": "tiny", "set": SMALL}}))
    return path


def command(folder: Path, params: Path) -> list[str]:
    """Return the command for a run that writes to `folder`."""
    words = ["run-local", "--params", str(params), "--output", str(folder / "output")]
    return [sys.executable, "-m", "pipelines", *words, "--registry", str(folder / "registry")]


def steps_done(folder: Path) -> int:
    """Return how many training steps the run that writes to `folder` has logged."""
    path = folder / "output/checkpoints/metrics.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    return max((row["step"] for row in rows if "lr" in row), default=0)


def steps_saved(folder: Path) -> int:
    """Return the step of the newest checkpoint of the run that writes to `folder`, 0 if there is none."""
    saved = folder.glob("output/checkpoints/step-*[0-9]")
    return max((int(path.name.removeprefix("step-")) for path in saved), default=0)
