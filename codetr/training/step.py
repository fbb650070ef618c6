"""One optimiser step: forward, backward, clipping and the update, over one or several micro-batches."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

from codetr.core.errors import UserError
from codetr.distributed.processes import Processes
from codetr.models.losses.normalizer import Normalizer, RecordingNormalizer, ReplayNormalizer, effective_counts
from codetr.models.structures import ImageBatch, Target
from codetr.training.gradients import clip_gradients, mean_in_order_of_ranks
from codetr.training.randomness import derive_seed, seed_all
from codetr.training.sharded_types import is_sharded_module, is_sharded_tensor

MicroBatch = tuple[ImageBatch, list[Target]]


@dataclass(frozen=True)
class StepResult:
    """The result of a step, over all ranks and micro-batches.

    Attributes:
        losses: value of every loss by name, and their sum as "total".
        grad_norm: L2 norm of the gradient before clipping.
        stop: whether any process was asked to stop.
        save: whether any process asks for a checkpoint.
    """

    losses: dict[str, float]
    grad_norm: float
    stop: bool
    save: bool


def distribute(detector: nn.Module, processes: Processes) -> nn.Module:
    """Wrap `detector` so that gradients are averaged over ranks; return it unchanged if alone or sharded.

    Every trainable parameter has a gradient in every step, also from images without objects, so DDP need not look for
    unused ones. Buffers are constants of the detector and are not synchronised.
    """
    if processes.world_size == 1 or is_sharded_module(detector):
        return detector
    # Newer releases of PyTorch renamed the option, and warn about the old name on every rank.
    known = inspect.signature(DistributedDataParallel).parameters
    name = "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers"
    options: dict[str, Any] = {name: False}
    model = DistributedDataParallel(detector, gradient_as_bucket_view=True, **options)
    # Kernels on GPUs differ in the last bits from run to run anyway, so the faster all-reduce is used there.
    if processes.device.type == "cpu":
        model.register_comm_hook(processes.world_size, mean_in_order_of_ranks)
    return model


@contextmanager
def local_gradients(model: nn.Module, enabled: bool) -> Iterator[None]:
    """If enabled, accumulate gradients on every rank inside the block without synchronising them."""
    if enabled and isinstance(model, DistributedDataParallel):
        with model.no_sync():
            yield
        return
    if is_sharded_module(model):
        model.set_requires_gradient_sync(not enabled)
    yield


class TrainStep:
    """Runs optimiser steps of one detector.

    With several micro-batches the gradient is that of the large batch. Losses are divided by counts over the batch, so
    all micro-batches first run forward without gradients to count, then again with the counts of the whole batch and
    the same random numbers. This costs one more forward pass per image.

    Args:
        detector: on the device of `processes`, sharded or not.
        optimizer: of its parameters.
        processes: this process and the others.
        clip_norm: see `TrainingConfig`.
        bf16: compute in bfloat16 under autocast.
        seed: of the run.
    """

    def __init__(
        self,
        detector: nn.Module,
        optimizer: Optimizer,
        processes: Processes,
        *,
        clip_norm: float | None,
        bf16: bool,
        seed: int,
    ) -> None:
        self.detector = detector
        self._model = distribute(detector, processes)
        self.optimizer, self._processes = optimizer, processes
        self._parameters = [parameter for parameter in detector.parameters() if parameter.requires_grad]
        # FSDP ignores scalars; their gradients are averaged here.
        sharded = is_sharded_module(self._model)
        self._unsharded = [p for p in self._parameters if sharded and not is_sharded_tensor(p)]
        self._clip_norm, self._bf16, self._seed = clip_norm, bf16, seed

    def __call__(
        self, batches: Sequence[MicroBatch], *, step: int, stop: bool = False, save: bool = False
    ) -> StepResult:
        """Update the weights with one effective batch.

        Args:
            batches: this rank's micro-batches, equally many on every rank.
            step: optimiser steps done before; seeds the random draws.
            stop: whether this process was asked to stop; every rank learns of it.
            save: whether this process asks for a checkpoint; every rank learns of it.

        Raises:
            UserError: a loss or the gradient is not finite, or images are unusable. The weights are unchanged.
        """
        device = self._processes.device
        moved = [
            (batch.to(device, non_blocking=True), [target.to(device, non_blocking=True) for target in targets])
            for batch, targets in batches
        ]
        self.optimizer.zero_grad(set_to_none=True)
        losses = self.backward(moved, step=step)
        norm = clip_gradients(self._parameters, self._clip_norm)
        # One reduction and one copy to the host for all values of this step.
        requests = norm.new_tensor([stop, save], dtype=torch.float32)
        local = torch.stack([*losses.values(), norm.to(torch.float32), *requests])
        *values, grad_norm, stops, saves = self._processes.mean(local).double().tolist()
        named = dict(zip(losses, values, strict=True))
        total = sum(named.values())
        if not (torch.isfinite(torch.tensor([total, grad_norm])).all()):
            self._report_not_finite(local[:-3].tolist(), list(losses), batches, step)
        self.optimizer.step()
        return StepResult({**named, "total": total}, grad_norm, stops > 0, saves > 0)

    def backward(self, batches: Sequence[MicroBatch], *, step: int) -> dict[str, Tensor]:
        """Compute the gradients of one effective batch, averaged over ranks; return this rank's mean losses."""
        if len(batches) == 1:
            self._seed_for(step, 0)
            losses = self._forward(self._model, batches[0], Normalizer())
            torch.stack(list(losses.values())).sum().backward()
            self._average_unsharded()
            return {name: loss.detach().float() for name, loss in losses.items()}
        counts = self._count(batches, step=step)
        sums: dict[str, Tensor] = {}
        for index, batch in enumerate(batches):
            self._seed_for(step, index)
            # Gradients are synchronised once, with the last micro-batch.
            with local_gradients(self._model, index < len(batches) - 1):
                losses = self._forward(self._model, batch, ReplayNormalizer(counts, len(batches)))
                (torch.stack(list(losses.values())).sum() / len(batches)).backward()
            for name, loss in losses.items():
                value = loss.detach().float() / len(batches)
                sums[name] = sums[name] + value if name in sums else value
        self._average_unsharded()
        return sums

    def _average_unsharded(self) -> None:
        """Average the gradients that FSDP does not synchronise."""
        if self._unsharded:
            gradients = [parameter.grad for parameter in self._unsharded if parameter.grad is not None]
            torch._foreach_copy_(gradients, list(self._processes.mean(torch.stack(gradients))))

    @torch.no_grad()
    def _count(self, batches: Sequence[MicroBatch], *, step: int) -> Tensor:
        """Return (divisors,): the counts that the losses are divided by, over the whole effective batch."""
        records = []
        for index, batch in enumerate(batches):
            self._seed_for(step, index)
            record = RecordingNormalizer()
            self._forward(self.detector, batch, record)
            records.append(record)
        return effective_counts(records)

    def _forward(self, model: nn.Module, batch: MicroBatch, normalizer: Normalizer) -> dict[str, Tensor]:
        images, targets = batch
        # Without autocast's cache a weight is rounded at every use. So gradients of weights that are used several times
        # are accumulated in fp32, and no copies of sharded or checkpointed layers' weights stay in memory.
        device = images.pixels.device.type
        with torch.autocast(device, torch.bfloat16, enabled=self._bf16, cache_enabled=False):
            losses: dict[str, Tensor] = model(images, targets, normalizer)
        return losses

    def _seed_for(self, step: int, micro_batch: int) -> None:
        seed_all(derive_seed(self._seed, "step", step, micro_batch, self._processes.rank))

    def _report_not_finite(
        self, values: list[float], names: list[str], batches: Sequence[MicroBatch], step: int
    ) -> None:
        """Raise the same error on every rank: which losses are not finite, and the images of the ranks that saw it."""
        bad = {name: value for name, value in zip(names, values, strict=True) if not abs(value) < float("inf")}
        images = [image_id for batch, _ in batches for image_id in batch.image_ids]
        reports = self._processes.gather((bad, images))
        found = {name: value for bad, _ in reports for name, value in bad.items()}
        suspects = [image for bad, images in reports if bad or not found for image in images]
        what = ", ".join(f"loss '{name}' is {value}" for name, value in found.items())
        raise UserError(
            f"{what or 'the gradient is not finite'} at step {step + 1}, images {sorted(set(suspects))}",
            where="training stopped",
            hint="Check the annotations of these images; otherwise lower training.optimizer.lr, or set "
            "training.precision=fp32. The last checkpoint was saved before this step.",
        )


def use_bf16(precision: str, device: torch.device) -> bool:
    """Return whether to compute in bf16: "auto" does on GPUs with bf16 units.

    Raises:
        UserError: "bf16" on a CPU. PyTorch's convolutions (oneDNN) emulate it there, and some of their gradients
            are uninitialised memory.
    """
    if device.type != "cuda":
        if precision == "bf16":
            hint = "Set it to auto or fp32."
            raise UserError("'bf16' needs a GPU, and training runs on the CPU", where="training.precision", hint=hint)
        return False
    return precision == "bf16" or (precision == "auto" and torch.cuda.is_bf16_supported(including_emulation=False))
