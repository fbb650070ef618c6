"""Measure the speed and the memory of a model on this machine."""

from __future__ import annotations

import platform
import re
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from codetr.core.code_version import library_versions
from codetr.core.errors import UserError
from codetr.core.progress import track
from codetr.core.system.peak_memory import peak_memory, reset_peak_memory
from codetr.core.version import __version__
from codetr.data.images import read_image
from codetr.data.loading.collate import collate_views
from codetr.data.transforms.view import View
from codetr.distributed.capacity import Capacity, total_memory
from codetr.distributed.devices import is_out_of_memory
from codetr.inference.predictor import Model
from codetr.inference.result import Result
from codetr.inference.sources import find_sources
from codetr.models.structures import ImageBatch

Precision = Literal["fp32", "bf16"]
Image = NDArray[np.uint8]

_MOST_IMAGES = 256
"""Images of files that are kept in memory."""

_MOST_PIXELS = 1 << 25
"""Pixels of random images that are kept in memory, if there are several."""


@dataclass(frozen=True)
class Timing:
    """What one batch took, in seconds.

    Attributes:
        preprocess: resizing, normalising and padding, on the CPU.
        model: transfer to the device, the network, and selection of its detections.
        postprocess: detections above the threshold as arrays in main memory, masks in pixels of the image.
    """

    preprocess: float
    model: float
    postprocess: float

    @property
    def total(self) -> float:
        """All three."""
        return self.preprocess + self.model + self.postprocess


@dataclass(frozen=True)
class Measurement:
    """The result for one size of images and batch.

    Attributes:
        size: width and height of the images, as "640x480", or "files".
        input: width and height of the largest input of the network, after resizing and padding.
        batch: images in a batch.
        images_per_second: over all batches.
        latency_ms: of a batch: mean and percentiles, in milliseconds.
        preprocess_ms: mean of a batch, see `Timing`.
        model_ms: the same.
        postprocess_ms: the same.
        peak_memory: bytes: those PyTorch allocated on a GPU, else the resident memory of this process.
        detections: mean number of detections in an image.
    """

    size: str
    input: str
    batch: int
    images_per_second: float
    latency_ms: dict[str, float]
    preprocess_ms: float
    model_ms: float
    postprocess_ms: float
    peak_memory: int
    detections: float


def random_images(width: int, height: int, batch: int) -> list[Image]:
    """Return images (height, width, 3) of noise, always the same: as many as a batch has, or fewer that are large."""
    draw = np.random.default_rng(0)
    count = max(1, min(batch, _MOST_PIXELS // (width * height)))
    return [draw.integers(0, 256, (height, width, 3), dtype=np.uint8) for _ in range(count)]


def read_images(sources: Sequence[str], model: Model) -> list[Image]:
    """Read images of files, folders and patterns, see `find_sources`.

    Raises:
        UserError: there are none, one cannot be read, or there are too many to keep in memory.
    """
    files = find_sources(sources)
    if files.videos:
        raise UserError("is a video", where=files.videos[0], hint="Give images.")
    if len(files.images) > _MOST_IMAGES:
        problem = f"{len(files.images)} images are too many to keep in memory"
        raise UserError(problem, where="--image", hint=f"Give at most {_MOST_IMAGES}.")
    return [read_image(image.path, range_16bit=model.info.range_16bit) for image in files.images]


def measure(
    model: Model,
    images: Sequence[Image],
    *,
    size: str,
    batch: int,
    warmup: int,
    repeat: int,
    precision: Precision,
    threshold: float,
) -> Measurement:
    """Detect in batches of images, and measure what they take.

    Args:
        model: on its device.
        images: (height, width, 3) uint8 RGB each; used again and again.
        size: names the images in the result.
        batch: images in a batch.
        warmup: batches that are not measured: the first ones allocate memory and choose kernels.
        repeat: batches that are measured.
        precision: "bf16" computes under autocast, on GPUs.
        threshold: lowest score of a detection that is postprocessed.

    Raises:
        UserError: bf16 on a CPU, or the batch does not fit into the memory of the GPU.
    """
    device = model.device
    if precision == "bf16" and device.type != "cuda":
        raise UserError("'bf16' needs a GPU with CUDA", where="--precision", hint="Give fp32.")
    _reset_peak(device)
    endless = cycle(images)
    timings: list[Timing] = []
    found, largest = 0, (0, 0)
    rounds = track(range(warmup + repeat), warmup + repeat, f"{size}, batch {batch}")
    with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
        for number in rounds:
            try:
                timing, results, canvas = _detect(model, list(islice(endless, batch)), threshold)
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                problem = f"{batch} images of {size} do not fit into the memory of {device}"
                raise UserError(problem, where="--batch", hint="Give a smaller number.") from None
            if number >= warmup:
                timings.append(timing)
                found += sum(map(len, results))
            largest = max(largest, canvas, key=lambda shape: shape[0] * shape[1])
    totals = np.array([timing.total for timing in timings]) * 1000
    means = {name: float(np.mean([asdict(timing)[name] for timing in timings])) * 1000 for name in asdict(timings[0])}
    percentiles = {f"p{share}": float(np.percentile(totals, share)) for share in (50, 90, 99)}
    return Measurement(
        size=size,
        input=f"{largest[1]}x{largest[0]}",
        batch=batch,
        images_per_second=batch * len(totals) / float(totals.sum()) * 1000,
        latency_ms={"mean": float(totals.mean()), **percentiles, "max": float(totals.max())},
        preprocess_ms=means["preprocess"],
        model_ms=means["model"],
        postprocess_ms=means["postprocess"],
        peak_memory=torch.cuda.max_memory_allocated(device) if device.type == "cuda" else peak_memory(),
        detections=found / (batch * len(totals)),
    )


def _detect(model: Model, images: list[Image], threshold: float) -> tuple[Timing, list[Result], tuple[int, int]]:
    """Detect in one batch as `Model.predict` does, and return the time of its parts and the size of the input."""
    clock = _Clock(model.device)
    views = [View.whole(k, (image.shape[0], image.shape[1]), model.info.preprocess) for k, image in enumerate(images)]
    (shown,) = model.passes(views)
    batch: ImageBatch = collate_views(shown, images.__getitem__, [view.image for view in shown])
    preprocess = clock.lap()
    detections = model.merge(iter([model.run(batch)]), views)
    network = clock.lap()
    results = []
    for image, detected in zip(images, detections, strict=True):
        kept = detected[detected.scores >= threshold].to("cpu")
        results.append(Result(kept, model.class_names, (image.shape[0], image.shape[1]), pixels=image))
        list(results[-1])  # boxes, scores, names and masks
    return Timing(preprocess, network, clock.lap()), results, batch.canvas_size


class _Clock:
    """Seconds between calls; work that a GPU has queued is waited for."""

    def __init__(self, device: torch.device) -> None:
        self._wait: Callable[[], object] = {
            "cuda": lambda: torch.cuda.synchronize(device),
            "mps": torch.mps.synchronize,
        }.get(device.type, lambda: None)
        self._wait()
        self._last = time.perf_counter()

    def lap(self) -> float:
        """Return the seconds since the last call."""
        self._wait()
        last, self._last = self._last, time.perf_counter()
        return self._last - last


def _reset_peak(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
    else:
        reset_peak_memory()


def describe_machine(device: torch.device) -> dict[str, Any]:
    """Return what measurements depend on: processor, cores, memory, GPU, operating system and versions."""
    return {
        "device": str(device),
        "gpu": torch.cuda.get_device_name(device) if device.type == "cuda" else None,
        "processor": _processor(),
        "cores": Capacity.of_machine().cores,
        "threads": torch.get_num_threads(),
        "memory": total_memory(),
        "system": platform.platform(),
        "versions": {
            "codetr": __version__,
            "python": platform.python_version(),
            "torch": torch.__version__,
            "cuda": torch.version.cuda,
            **library_versions(),
        },
    }


def _processor() -> str:
    with suppress(OSError):
        found = re.search(r"model name\s*: (.+)", Path("/proc/cpuinfo").read_text(encoding="utf-8"))
        if found is not None:
            return found[1]
    return platform.processor() or platform.machine()
