"""Converting a checkpoint of the largest published size, Co-DINO with ViT-L (365 million parameters), and back.

    python benchmarks/convert.py [--folder /tmp]

Files of the published form are made from random weights: with averages and optimiser beside the weights, which is what
the official training leaves, and without, which is what is published. Each command runs in a separate process. The
anonymous memory of a process is shown separately from mapped files, which the system drops when it needs the memory.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from torch import Tensor

from codetr.core.system.parent_watch import tied_children
from codetr.models.detector import build_detector
from codetr.weights.coco_classes import COCO_NAMES
from codetr.weights.official.key_names import to_official
from codetr.zoo.detectors import co_dino_vit_large_coco


def write_checkpoints(folder: Path) -> dict[str, Path]:
    """Write a checkpoint as published, and one as training leaves it."""
    torch.manual_seed(0)
    weights = {name: value.detach() for name, value in to_official(build_detector(co_dino_vit_large_coco(80))).items()}
    meta = {"CLASSES": COCO_NAMES, "mmdet_version": "2.25.3", "epoch": 12}
    published, trained = folder / "published.pth", folder / "trained.pth"
    torch.save({"meta": meta, "state_dict": weights}, published)
    averages = {f"ema_{name.replace('.', '_')}": value.clone() for name, value in weights.items()}
    moments: dict[int, dict[str, Tensor]] = {
        index: {"exp_avg": value.clone(), "exp_avg_sq": value.clone()}
        for index, value in enumerate(weights.values())
        if value.is_floating_point()
    }
    torch.save({"meta": meta, "state_dict": weights | averages, "optimizer": {"state": moments}}, trained)
    return {"published checkpoint": published, "checkpoint of a training": trained}


def run(*arguments: str | Path) -> tuple[float, float, float]:
    """Run `codetr …`: seconds, and the largest memory of the process in GiB, anonymous and of mapped files."""
    began = time.perf_counter()
    command = [sys.executable, "-m", "codetr", *map(str, arguments)]
    with tied_children():
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    anonymous = mapped = 0
    while process.poll() is None:
        try:
            lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
        except OSError:
            break
        values = {name: value.split()[0] for name, _, value in (line.partition(":") for line in lines) if value.strip()}
        anonymous = max(anonymous, int(values.get("RssAnon", 0)))
        mapped = max(mapped, int(values.get("RssFile", 0)))
        time.sleep(0.01)
    if process.wait():
        sys.exit(process.returncode)
    return time.perf_counter() - began, anonymous / 2**20, mapped / 2**20


def main() -> None:
    """Make the files, convert them there and back, print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="where about 14 GB can be written for a while")
    with tempfile.TemporaryDirectory(dir=parser.parse_args().folder) as name:
        folder = Path(name)
        recipe = ("--recipe", write_recipe(folder))
        print(f"torch {torch.__version__}; GiB are those of files, of anonymous memory and of mapped files")
        print(f"{'':32}{'file':>8}{'seconds':>10}{'anonymous':>11}{'mapped':>8}")
        for title, path in write_checkpoints(folder).items():
            show(title, path, run("convert", path, *recipe, "-o", folder / "model"))
        back = folder / "back.pth"
        figures = run("convert", "--to-official", folder / "model", "-o", back)
        show("back to the official format", back, figures)


def write_recipe(folder: Path) -> Path:
    """Return a recipe with this detector."""
    import yaml

    from codetr import zoo

    recipe = zoo.recipe("tiny").model_copy(update={"name": "vit", "model": co_dino_vit_large_coco(80)})
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe.model_dump(mode="json")))
    return path


def show(title: str, file: Path, figures: tuple[float, float, float]) -> None:
    """Print one row."""
    seconds, anonymous, mapped = figures
    print(f"{title:32}{file.stat().st_size / 2**30:>8.2f}{seconds:>10.1f}{anonymous:>11.2f}{mapped:>8.2f}", flush=True)


if __name__ == "__main__":
    main()
