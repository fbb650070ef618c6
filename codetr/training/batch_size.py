"""The largest batch that fits into memory, for `loader.batch_size: auto`.

On a GPU forward and backward passes of growing batches are tried until memory runs out. On a CPU, where the system
would kill the process, one and two images are tried, and the memory of larger batches is extrapolated.
"""

from __future__ import annotations

import resource
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn

from codetr.core.errors import UserError
from codetr.core.system.heap import release_free_memory
from codetr.distributed.devices import is_out_of_memory
from codetr.models.losses.normalizer import RecordingNormalizer
from codetr.models.structures import ImageBatch, Target

GPU_SHARE, CPU_SHARE = 0.92, 0.7
"""Share of the memory that a batch may take: allocators fragment, and on a CPU the rest is extrapolated."""

LESS_MEMORY = (
    "Recompute activations: model.backbone.checkpointing=true and "
    "model.query.transformer.checkpointed_encoder_layers=6 change no result, so a run resumes with them. Or start a "
    "run with a lower loader.batch_size (auto finds the largest) and a higher training.accumulate, or with smaller "
    "images (augment.short_sides and augment.long_side, or the canvas)."
)
"""What to do when memory does not suffice for training."""

_WHERE = "loader.batch_size"
_SAMPLE_SECONDS = 0.005
_RESIDENT = Path("/proc/self/statm")

TrialBatch = Callable[[int], tuple[ImageBatch, list[Target]]]
"""Returns a batch of so many of the largest images."""


def largest_fitting(fits: Callable[[int], bool], most: int) -> int:
    """Return the largest number from 1 to `most` that fits; 0 if 1 does not.

    Args:
        fits: whether a number fits; if one does, all smaller ones do.
        most: at least 1.
    """
    low, high, number, failed = 0, most, 1, False
    while low < high:
        if fits(number):
            low = number
        else:
            high, failed = number - 1, True
        number = (low + high + 1) // 2 if failed else min(2 * low, high)
    return low


def trial_batch(
    count: int,
    size: tuple[int, int],
    objects: int,
    *,
    classes: int,
    masks: bool,
    device: torch.device,
    seed: int = 0,
) -> tuple[ImageBatch, list[Target]]:
    """Return a batch of noise with boxes all over it.

    Args:
        count: images.
        size: (height, width) in pixels.
        objects: in each image.
        classes: of the detector.
        masks: whether objects have masks.
        device: of the batch.
        seed: of the noise and the boxes.
    """
    generator = torch.Generator().manual_seed(seed)
    height, width = size
    targets = []
    for _ in range(count):
        corners = torch.rand(objects, 2, generator=generator) * torch.tensor([width / 2, height / 2])
        sides = torch.rand(objects, 2, generator=generator) * torch.tensor([width / 2, height / 2]) + 8
        labels = torch.randint(0, classes, (objects,), generator=generator)
        shapes = torch.ones(objects, height, width, dtype=torch.bool) if masks else None
        targets.append(Target(torch.cat((corners, corners + sides), dim=1), labels, shapes).to(device))
    pixels = torch.randn(count, 3, height, width, generator=generator).to(device)
    return ImageBatch(pixels, [size] * count, [size] * count, [size] * count, list(range(count))), targets


def extrapolated(count: int, one: float, two: float) -> float:
    """Return the memory of a step with `count` images, from that with one and with two."""
    # Where two images took hardly more than one, a buffer that both need was made with the first.
    return one + (count - 1) * max(two - one, one / 10)


class MemoryTrial:
    """Tries forward and backward passes of a detector, whose weights and gradients are afterwards as before.

    Args:
        detector: on its device, on one process; it is set to training mode.
        batch: see `TrialBatch`.
        bf16: compute in bfloat16 under autocast.
        states: bytes that training needs in addition to the weights and their gradients: states of the optimiser, an
            average.
        available: bytes of main memory for this process; used on a CPU.
    """

    def __init__(
        self, detector: nn.Module, batch: TrialBatch, *, bf16: bool, states: int, available: int | None
    ) -> None:
        self._detector, self._batch, self._bf16, self._states = detector.train(), batch, bf16, states
        self._device = next(detector.parameters()).device
        self._available = available
        self._growths: tuple[float, float] | None = None

    def fits(self, count: int) -> bool:
        """Return whether a batch of so many images fits into memory.

        Raises:
            UserError: this system does not say how much memory there is.
        """
        return self._fits_gpu(count) if self._device.type == "cuda" else self._fits_cpu(count)

    def _fits_gpu(self, count: int) -> bool:
        torch.cuda.set_per_process_memory_fraction(GPU_SHARE, self._device)
        states: Tensor | None = None
        try:
            states = torch.empty(self._states, dtype=torch.uint8, device=self._device)
            self._step(count)
            torch.cuda.synchronize(self._device)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            return False
        finally:
            del states
            self._detector.zero_grad(set_to_none=True)
            torch.cuda.empty_cache()
            torch.cuda.set_per_process_memory_fraction(1.0, self._device)
        return True

    def _fits_cpu(self, count: int) -> bool:
        if self._available is None or not _RESIDENT.is_file():
            hint = "Give a number: loader.batch_size=2."
            raise UserError("'auto': this system does not say how much memory there is", where=_WHERE, hint=hint)
        if self._growths is None:
            release_free_memory()
            before = _resident()
            # Of both the growth since before the first: what the heap keeps of one step serves the next.
            self._growths = self._peak(1) - before, self._peak(2) - before
        return extrapolated(count, *self._growths) + self._states <= CPU_SHARE * self._available

    def _peak(self, count: int) -> int:
        """Return the highest resident memory of this process during a step, in bytes."""
        with _watched_memory() as highest:
            self._step(count)
        self._detector.zero_grad(set_to_none=True)
        return highest[0]

    def _step(self, count: int) -> None:
        images, targets = self._batch(count)
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._bf16, cache_enabled=False):
            # It does not communicate: the other processes are not here.
            losses = self._detector(images, targets, RecordingNormalizer())
        torch.stack(list(losses.values())).sum().backward()


def _resident() -> int:
    """Return the bytes of main memory that this process has."""
    return int(_RESIDENT.read_text().split()[1]) * resource.getpagesize()


@contextmanager
def _watched_memory() -> Iterator[list[int]]:
    """Give a list whose only element becomes the highest resident memory inside the block, in bytes."""
    highest, done = [_resident()], threading.Event()

    def watch() -> None:
        while not done.wait(_SAMPLE_SECONDS):
            highest[0] = max(highest[0], _resident())

    thread = threading.Thread(target=watch, name="memory-watch", daemon=True)
    thread.start()
    try:
        yield highest
        highest[0] = max(highest[0], _resident())
    finally:
        done.set()
        thread.join()
