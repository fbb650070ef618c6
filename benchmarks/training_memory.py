"""Memory and time of training steps: what checkpointing, bf16 and FSDP save and cost, for the main recipes.

    python benchmarks/training_memory.py                          # measured here: full size on a GPU, small on a CPU
    python benchmarks/training_memory.py --processes 8            # and with DDP and FSDP on so many GPUs (or CPUs)
    python benchmarks/training_memory.py --computed               # computed, for full size: needs no GPU

Every measurement starts new processes and takes real steps (forward, backward, clipping, AdamW) on images of
noise with seven objects each; the best time of the steps after the first counts. On a GPU memory is the allocator's
peak; on a CPU it is the growth of the resident set at its peak, and widths and images are small, so that only the
ratios to the first row of a recipe mean something. CPUs do not compute in bf16.

What is computed is a lower bound for fp32: what is in memory when the backward pass begins, of weights, gradients,
optimiser and average, and of the activations of backbone, neck and encoder. Heads, decoder, temporary memory and what
the allocator cannot use come on top. With bf16 some activations take half.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn

from codetr.distributed.processes import processes
from codetr.models.backbones.config import ResNetConfig, SwinConfig, ViTConfig
from codetr.models.config import DetectorConfig
from codetr.models.detector import CoDETR, build_detector
from codetr.models.structures import ImageBatch
from codetr.training.batch_size import trial_batch
from codetr.training.config import OptimizerConfig
from codetr.training.optimizer import build_optimizer
from codetr.training.randomness import seed_all
from codetr.training.sharding import shard, units
from codetr.training.step import TrainStep
from codetr.zoo import detectors

GIB = 2**30
CLASSES, OBJECTS = 80, 7
FULL_SIZE, SMALL_SIZE = (800, 1344), (192, 256)
SHARDS = 8
"""Processes for which sharding is computed."""

RECIPES: dict[str, Callable[[int], DetectorConfig]] = {
    "co_deformable_detr_r50": detectors.co_deformable_detr_r50,
    "co_dino_5scale_r50": detectors.co_dino_5scale_r50,
    "co_dino_5scale_swin_large": lambda classes: detectors.co_dino_5scale_swin_large(classes, drop_path=0.3),
    "co_dino_vit_large": detectors.co_dino_vit_large_coco,
}
SMALL = {
    "resnet": ResNetConfig(base_width=32),
    "swin": SwinConfig(width=48, attention_heads=(2, 4, 8, 16), depths=(2, 2, 6, 2)),
    "vit": ViTConfig(
        channels=256, depth=12, attention_heads=4, feedforward_channels=682, window_size=8, global_blocks=(5, 11)
    ),
}


@dataclass(frozen=True)
class Row:
    """One measurement: a recipe with these options."""

    recipe: str
    checkpointing: bool
    bf16: bool = False
    processes: int = 1
    distribution: str = "ddp"

    @property
    def options(self) -> str:
        """What is printed of them."""
        parts = ["bf16" if self.bf16 else "fp32"]
        if self.checkpointing:
            parts.append("checkpointing")
        if self.processes > 1:
            parts.append(f"{self.distribution} x {self.processes}")
        return ", ".join(parts)


def configuration(recipe: str, *, checkpointing: bool, small: bool) -> DetectorConfig:
    """Build the detector of a recipe, with all backbone blocks, encoder and decoder layers checkpointed, or none."""
    config = RECIPES[recipe](CLASSES)
    if small:
        backbone = SMALL[config.backbone.kind].model_dump()
        if isinstance(config.backbone, ResNetConfig | SwinConfig):
            backbone["out_stages"] = config.backbone.out_stages
        config = config.changed([("backbone", backbone), ("channels", 64), ("norm_groups", 16)])
    layers = 100 if checkpointing else 0
    parts = [(f"query.transformer.checkpointed_{part}_layers", layers) for part in ("encoder", "decoder")]
    return config.changed([("backbone.checkpointing", checkpointing), *parts])


def rows(count: int, *, bf16: bool) -> list[Row]:
    """Return the measurements, recipe by recipe."""
    found = []
    for recipe in RECIPES:
        found += [Row(recipe, checkpointing=False), Row(recipe, checkpointing=True)]
        if bf16:
            found += [Row(recipe, checkpointing=saving, bf16=True) for saving in (False, True)]
        if count > 1:
            found += [Row(recipe, True, bf16, count, distribution) for distribution in ("ddp", "fsdp")]
    return found


def resident(field: str) -> float:
    """Return the GiB of this process's resident set: "VmRSS" now, "VmHWM" at its peak."""
    match = re.search(rf"{field}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert match is not None
    return int(match[1]) * 1024 / GIB


def measure(row: Row, *, steps: int, batch: int) -> dict[str, float] | None:
    """Return peak GiB and seconds of a step, the largest of all ranks, on rank 0."""
    torch.set_num_threads(1)
    with processes() as group:
        gpu, before = group.device.type == "cuda", resident("VmRSS")
        seed_all(0)
        config = configuration(row.recipe, checkpointing=row.checkpointing, small=not gpu)
        detector = build_detector(config).to(group.device).train()
        if row.distribution == "fsdp":
            shard(detector, group)
        optimizer = build_optimizer(detector, OptimizerConfig())
        step = TrainStep(detector, optimizer, group, clip_norm=0.1, bf16=row.bf16, seed=0)
        size = FULL_SIZE if gpu else SMALL_SIZE
        data = trial_batch(batch, size, OBJECTS, classes=CLASSES, masks=False, device=group.device, seed=group.rank)
        seconds = []
        for index in range(steps + 1):
            start = time.perf_counter()
            step([data], step=index)  # it ends with a copy from the device
            seconds.append(time.perf_counter() - start)
        memory = torch.cuda.max_memory_allocated() / GIB if gpu else resident("VmHWM") - before
        results = group.gather((memory, min(seconds[1:])))
        if not group.is_main:
            return None
        return {"gib": max(memory for memory, _ in results), "seconds": max(taken for _, taken in results)}


def measured(row: Row, arguments: argparse.Namespace) -> dict[str, float] | str:
    """Measure in separate processes; return the reason if that fails."""
    command = [sys.executable]
    if row.processes > 1:
        command += ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(row.processes)]
    command += [__file__, "--row", json.dumps(asdict(row)), "--steps", str(arguments.steps)]
    done = subprocess.run(
        [*command, "--batch", str(arguments.batch)], check=False, capture_output=True, text=True, errors="replace"
    )
    if done.returncode:
        return "out of memory" if "OutOfMemoryError" in done.stderr else f"failed: {done.stderr[-2000:]}"
    return json.loads(done.stdout.strip().splitlines()[-1])


def print_measured(arguments: argparse.Namespace) -> None:
    """Measure every row and print a table."""
    gpu = torch.cuda.is_available()
    where = torch.cuda.get_device_name() if gpu else "CPU, small widths and images: only ratios mean something"
    size = FULL_SIZE if gpu else SMALL_SIZE
    print(f"Measured. torch {torch.__version__}, {where}; {arguments.batch} x {size[0]} x {size[1]} for each process")
    print(f"{'recipe':26} {'options':32} {'GiB':>6} {'s/step':>7} {'memory':>7} {'time':>6}")
    first: dict[str, dict[str, float]] = {}
    for row in rows(arguments.processes, bf16=gpu):
        if arguments.only not in row.recipe:
            continue
        result = measured(row, arguments)
        if isinstance(result, str):
            print(f"{row.recipe:26} {row.options:32} {result}")
            continue
        base = first.setdefault(row.recipe, result)
        ratios = f"{result['gib'] / base['gib']:>6.2f}x {result['seconds'] / base['seconds']:>5.2f}x"
        print(f"{row.recipe:26} {row.options:32} {result['gib']:>6.2f} {result['seconds']:>7.2f} {ratios}", flush=True)


def numel(modules: Sequence[nn.Module], *, trainable: bool = False) -> int:
    """Return the number of parameters of some modules."""
    parameters = {parameter for module in modules for parameter in module.parameters()}
    return sum(parameter.numel() for parameter in parameters if parameter.requires_grad or not trainable)


def states(detector: CoDETR, *, shards: int) -> float:
    """Return the bytes of each process when the backward pass begins: fp32 weights, two states of AdamW, an average.

    With DDP also gradients, whose memory stays. With FSDP a process has its share of all, and whole the weights that
    are fetched once for a step; gradients come and go.
    """
    weights, trained = numel([detector]), numel([detector], trainable=True)
    if shards == 1:
        return 4 * (2 * weights + 3 * trained)
    return 4 * ((2 * weights + 2 * trained) / shards + weights - numel(list(units(detector))))


class Kept:
    """Bytes that are kept for the backward pass, every memory once, without weights."""

    def __init__(self, detector: nn.Module) -> None:
        self._known = {tensor.untyped_storage()._cdata for tensor in (*detector.parameters(), *detector.buffers())}
        self._storages: list[torch.UntypedStorage] = []  # kept, so that no other gets its address
        self.bytes = 0

    def add(self, tensor: Tensor) -> Tensor:
        """Count a tensor."""
        storage = tensor.untyped_storage()
        if storage._cdata not in self._known:
            self._known.add(storage._cdata)
            self._storages.append(storage)
            self.bytes += storage.nbytes()
        return tensor

    def inputs(self, module: nn.Module, inputs: tuple[Any, ...]) -> None:
        """Count what a checkpointed layer is given: a hook before its `forward`."""
        for value in inputs:
            if isinstance(value, Tensor):
                self.add(value)


def activations(detector: CoDETR, *, checkpointing: bool) -> float:
    """Return the bytes that backbone, neck and encoder keep of one image; the meta device computes nothing."""
    kept = Kept(detector)
    if checkpointing:
        checkpointed = (*units(detector.backbone), *detector.encoder.layers)
        for module in checkpointed:
            module.register_forward_pre_hook(kept.inputs)
    size = [FULL_SIZE]
    batch = ImageBatch(torch.empty(1, 3, *FULL_SIZE, device="meta"), size, size, size)
    # There is no autocast for this device, not even to be switched off.
    no_autocast = patch.object(torch, "autocast", lambda *_, **__: nullcontext())
    with no_autocast, torch.autograd.graph.saved_tensors_hooks(kept.add, lambda tensor: tensor):
        detector.encode(batch)
    return kept.bytes


def print_computed() -> None:
    """Print a table of lower bounds."""
    print(
        f"Computed, not measured: lower bounds in GiB for full size, fp32, one image of {FULL_SIZE} pixels a process."
    )
    header = (
        f"{'recipe':26} {'parameters':>10} {'states':>7} {f'of {SHARDS}':>6} {'activations':>11} {'checkpointed':>12}"
    )
    print(f"{header} {'least, ddp':>10} {'least, fsdp':>11}")
    for recipe in RECIPES:
        amounts = []
        for checkpointing in (False, True):
            with torch.device("meta"):
                detector = build_detector(configuration(recipe, checkpointing=checkpointing, small=False)).train()
            amounts.append(activations(detector, checkpointing=checkpointing) / GIB)
        whole, sharded = (states(detector, shards=count) / GIB for count in (1, SHARDS))
        columns = (
            f"{numel([detector]) / 1e6:>9.0f}M {whole:>7.1f} {sharded:>6.1f} {amounts[0]:>11.1f} {amounts[1]:>12.1f}"
        )
        print(f"{recipe:26} {columns} {whole + amounts[1]:>10.1f} {sharded + amounts[1]:>11.1f}")


def main() -> None:
    """Print the table that is asked for, or one measurement of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--computed", action="store_true", help="print what is computed for full size")
    parser.add_argument("--processes", type=int, default=1, help="measure DDP and FSDP on so many, too")
    parser.add_argument("--only", default="", help="part of the names of the recipes to measure")
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--batch", type=int, default=1, help="images for each process")
    parser.add_argument("--row", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.row:
        result = measure(Row(**json.loads(arguments.row)), steps=arguments.steps, batch=arguments.batch)
        if result:
            print(json.dumps(result))
    elif arguments.computed:
        print_computed()
    else:
        print_measured(arguments)


if __name__ == "__main__":
    main()
