"""Settings of training: optimiser, schedule, averaging, checkpoints, validation."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from codetr.core.bounds import (
    MAX_STEPS,
    Count,
    NonNegativeFloat,
    PositiveFloat,
    Seed,
    SmallCount,
    Steps,
    StepsOrZero,
)
from codetr.core.settings import Settings

Milestone = Annotated[int, Field(ge=-MAX_STEPS, le=MAX_STEPS)]


class OptimizerConfig(Settings):
    """AdamW (Loshchilov and Hutter, ICLR 2019) and its parameter groups.

    Attributes:
        lr: learning rate of parameters that no multiplier names.
        reference_batch: images per step that `lr` is meant for; None if that is not known.
        scale_lr: how the learning rate follows the images per step where they are not `reference_batch`: "linear" in
            proportion (Goyal et al., "Accurate, Large Minibatch SGD", 2017), "sqrt" with the square root of the ratio
            (Malladi et al., "On the SDEs and Scaling Rules for Adaptive Gradient Algorithms", NeurIPS 2022), "none"
            not at all.
        weight_decay: applied to every parameter, biases and normalisation layers included.
        lr_multipliers: part of a parameter's name → factor on its learning rate. Where several parts occur in one
            name, only the longest applies.
        layer_decay: factor on the learning rate from each block of a ViT backbone to the one below it (Bao et al.,
            "BEiT", ICLR 2022, appendix); biases, normalisation layers and other vectors then have no weight decay.
            None for no layer decay.
    """

    lr: PositiveFloat = 2e-4
    reference_batch: Count | None = None
    scale_lr: Literal["none", "linear", "sqrt"] = "none"
    weight_decay: NonNegativeFloat = 1e-4
    lr_multipliers: dict[str, NonNegativeFloat] = Field(default_factory=lambda: {"backbone": 0.1})
    layer_decay: Annotated[float, Field(gt=0, le=1)] | None = None

    @model_validator(mode="after")
    def _scaling_needs_a_reference(self) -> Self:
        if self.scale_lr != "none" and self.reference_batch is None:
            raise ValueError("scale_lr needs reference_batch, the images per step that lr is meant for")
        return self

    def for_images(self, images_per_step: int) -> OptimizerConfig:
        """Return these settings with the learning rate for so many images in an optimiser step, over all processes."""
        if self.scale_lr == "none" or self.reference_batch in (None, images_per_step):
            return self
        ratio = images_per_step / self.reference_batch
        return self.model_copy(update={"lr": self.lr * (ratio if self.scale_lr == "linear" else ratio**0.5)})


class ScheduleConfig(Settings):
    """A linear warm-up, then a step decay. Iterations are optimiser steps.

    Attributes:
        warmup_iterations: length of the warm-up; 0 for none.
        warmup_ratio: factor on the learning rate at the first iteration.
        milestones: epochs (from 0) at whose start the learning rate is multiplied by `gamma`. Negative ones count
            from the end, so they remain valid when the number of epochs changes: -1 is the start of the last epoch. A
            milestone at or before the first epoch has no effect.
        gamma: the factor at every milestone.
    """

    warmup_iterations: StepsOrZero = 0
    warmup_ratio: Annotated[float, Field(ge=0, le=1)] = 0.01
    milestones: tuple[Milestone, ...] = ()
    gamma: Annotated[float, Field(gt=0, le=1)] = 0.1

    @field_validator("milestones")
    @classmethod
    def _in_order(cls, milestones: tuple[int, ...]) -> tuple[int, ...]:
        if 0 in milestones or list(milestones) != sorted(set(milestones), key=lambda epoch: (epoch < 0, epoch)):
            raise ValueError("milestones must be different epochs in ascending order, those from the end last")
        return milestones

    def resolved(self, epochs: int) -> ScheduleConfig:
        """Return the schedule for a number of epochs, with every milestone counted from the start."""
        counted = {epoch if epoch > 0 else epochs + epoch for epoch in self.milestones}
        return self.model_copy(update={"milestones": tuple(sorted(epoch for epoch in counted if epoch > 0))})


class EmaConfig(Settings):
    """An exponential moving average of the weights, which is then validated and published.

    Attributes:
        momentum: weight of the current weights in the average, late in training.
        warmup_iterations: optimiser steps in which the momentum's excess over its final value falls by a factor e.
    """

    momentum: Annotated[float, Field(gt=0, le=1)] = 1e-4
    warmup_iterations: Steps = 2000


CLUSTER_MINUTES = 15.0
"""`CheckpointConfig.every_minutes` on a cluster, where nodes are lost and taken away."""


class CheckpointConfig(Settings):
    """When to write checkpoints, and how many to keep.

    Attributes:
        every_steps: optimiser steps between checkpoints within an epoch, at whose end one is always written; None for
            none.
        every_minutes: minutes between checkpoints within an epoch; 0 for none, None for none on this machine and
            `CLUSTER_MINUTES` on a cluster.
        keep: how many of the newest checkpoints are kept, in addition to the one with the best validation.
    """

    every_steps: Steps | None = None
    every_minutes: NonNegativeFloat | None = None
    keep: Steps = 2


class TrainingConfig(Settings):
    """How a detector is trained.

    The effective batch is `loader.batch_size` × processes × `accumulate` images.

    Attributes:
        epochs: passes over the training split.
        seed: seeds the initial weights, the order of images, the augmentation and all sampling in the losses.
        accumulate: micro-batches for each optimiser step, with the gradient of the large batch.
        clip_norm: upper bound of the gradient's L2 norm; None for no clipping.
        distribution: with several processes, "ddp" replicates the weights and averages gradients; "fsdp" shards
            weights, gradients and optimiser states, for models that do not fit otherwise. Results differ in rounding
            only, and a run may be resumed with the other.
        precision: "auto" is bf16 on GPUs that have it and fp32 elsewhere; CPUs compute in fp32 only.
        threads: CPU threads of each process. The last bits of sums depend on it, so it is part of the recipe rather
            than of the machine.
        deterministic: use deterministic kernels where PyTorch has them. CPU training is then reproducible bit by bit;
            on GPUs it costs speed, and a few kernels have no deterministic variant.
        optimizer: see `OptimizerConfig`.
        schedule: see `ScheduleConfig`.
        ema: see `EmaConfig`; None for no averaging.
        checkpoint: see `CheckpointConfig`.
        validate_every: epochs between validations on the val split; the last epoch is always validated. 0 for none.
        publish: "best" publishes the weights with the highest validation AP, or the final ones if there is no
            validation; "last" always the final ones.
        patience: end training after this many validations in a row without a higher AP; None to train all epochs.
        log_every: optimiser steps between rows of metrics.
    """

    epochs: Steps = 12
    seed: Seed = 0
    accumulate: Count = 1
    clip_norm: PositiveFloat | None = 0.1
    distribution: Literal["ddp", "fsdp"] = "ddp"
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    threads: SmallCount = 1
    deterministic: bool = True
    optimizer: OptimizerConfig = OptimizerConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    ema: EmaConfig | None = None
    checkpoint: CheckpointConfig = CheckpointConfig()
    validate_every: StepsOrZero = 1
    publish: Literal["last", "best"] = "best"
    patience: Steps | None = None
    log_every: Steps = 10

    @model_validator(mode="after")
    def _patience_needs_validation(self) -> Self:
        if self.patience is not None and self.validate_every == 0:
            raise ValueError("patience needs validation: set validate_every to 1 or more")
        return self
