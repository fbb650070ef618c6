"""FSDP2 with real processes: the same training as DDP's, checkpoints for either, exact resume."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor

from codetr.distributed.processes import Processes
from codetr.distributed.signals import PreemptedError
from codetr.models.backbones.config import BackboneConfig, SwinConfig, ViTConfig
from codetr.models.config import DetectorConfig, DetectorKind, FederatedConfig
from codetr.models.detector import build_detector
from codetr.training.checkpoint_folder import CheckpointFolder
from codetr.training.config import CheckpointConfig, EmaConfig, OptimizerConfig, ScheduleConfig, TrainingConfig
from codetr.training.ema import Ema, averaged_weights
from codetr.training.optimizer import build_optimizer
from codetr.training.sharding import gather_full, gathered, local, shard
from codetr.training.state import Outcome
from codetr.training.step import TrainStep
from codetr.training.trainer import Hooks, Trainer
from tests.support.paths import ROOT
from tests.support.training.ranks import run_on_ranks
from tests.support.training.tiny_training import cut, images, tiny_config
from tests.support.training.training_loop import Drawn, StopAfter, Validation

SWIN = SwinConfig(
    width=8,
    depths=(1, 1, 2, 1),
    attention_heads=(1, 1, 2, 2),
    window_size=4,
    drop_path=0.3,
    frozen_stages=1,
    checkpointing=True,
)
VIT = ViTConfig(
    channels=16,
    depth=3,
    attention_heads=2,
    feedforward_channels=24,
    window_size=2,
    global_blocks=(2,),
    pretrained_grid=4,
    drop_path=0.3,
)


def config_with(kind: DetectorKind, backbone: BackboneConfig | None) -> DetectorConfig:
    """Everything that takes part in sharding: checkpointed layers of every part, frozen stages, shared tables."""
    config = tiny_config(kind)
    return config.model_copy(update={"backbone": backbone or config.backbone}).changed(
        [(f"query.transformer.checkpointed_{part}_layers", 1) for part in ("encoder", "decoder")]
    )


def make_step(config: DetectorConfig, group: Processes, *, sharded: bool, bf16: bool = False) -> TrainStep:
    torch.manual_seed(0)
    detector = build_detector(config).train()
    if detector.federated is not None:
        detector.federated.images_per_class = torch.tensor([100, 30, 1])
    if sharded:
        shard(detector, group)
    optimizer = build_optimizer(detector, OptimizerConfig(lr=1e-3))
    return TrainStep(detector, optimizer, group, clip_norm=0.1, bf16=bf16, seed=0)


def prefixed(name: str) -> Callable[[str], str]:
    """Name the tensor in the messages of `assert_close`."""
    return lambda message: f"{name}: {message}"


def assert_close(found: Mapping[str, Tensor], expected: Mapping[str, Tensor], *, tolerance: float) -> None:
    """Tensors by name; the tolerance is relative to the largest entry of each."""
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        scale = value.abs().max().item() if value.numel() else 0.0
        bound = tolerance * scale + 1e-6
        torch.testing.assert_close(found[name], value, rtol=0, atol=bound, msg=prefixed(name))


def check_steps(group: Processes) -> None:
    """Gradients, their norm and the losses are those of DDP, whatever the backbone, in fp32 and in bf16.

    This includes the federated loss, which keeps numbers on the device that are not weights."""
    cases: list[tuple[DetectorKind, BackboneConfig | None, int, bool, FederatedConfig | None]] = [
        ("co_deformable", None, 1, False, None),
        ("co_dino", SWIN, 1, False, FederatedConfig(classes=1)),
        ("co_dino", VIT, 2, False, None),
        ("co_dino", VIT, 1, True, None),
    ]
    for kind, backbone, accumulate, bf16, federated in cases:
        config = config_with(kind, backbone).model_copy(update={"federated": federated})
        parts = cut(*images(2 * accumulate), 2 * accumulate)[group.rank :: 2]
        results = []
        for sharded in (False, True):
            step = make_step(config, group, sharded=sharded, bf16=bf16)
            with torch.backends.mkldnn.flags(enabled=not bf16):  # its bf16 gradients are wrong on CPUs
                step.backward(parts, step=0)
                named = step.detector.named_parameters()
                gradients = gather_full({name: p.grad for name, p in named if p.requires_grad}, keep=True)
                results.append((gradients, step(parts, step=0)))
        (expected, ddp), (found, fsdp) = results
        assert_close(found, expected, tolerance=0.05 if bf16 else 1e-3)
        assert fsdp.grad_norm == pytest.approx(ddp.grad_norm, rel=0.02 if bf16 else 1e-4)
        assert fsdp.losses == pytest.approx(ddp.losses, rel=0.02 if bf16 else 1e-4)


def same(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def check_memory(group: Processes) -> None:
    """Each rank holds about half of the weights, gradients and states; otherwise sharding would save no memory."""
    step = make_step(config_with("co_dino", VIT), group, sharded=True)
    step([images(1, seed=group.rank)], step=0)
    ema = Ema(step.detector, EmaConfig())
    total = sum(parameter.numel() for parameter in step.detector.parameters())
    states = [state["exp_avg"] for state in step.optimizer.state.values()]
    gradients = [parameter.grad for parameter in step.detector.parameters() if parameter.grad is not None]
    kept: tuple[Iterable[Tensor], ...] = (step.detector.parameters(), states, gradients, ema.average.values())
    for tensors in kept:
        assert sum(local(tensor).numel() for tensor in tensors) < 0.55 * total


def check_validation(group: Processes) -> None:
    """Ranks with shares of different size do not wait for each other, and the average is validated."""
    config = config_with("co_dino", SWIN)
    step = make_step(config, group, sharded=True)
    torch.manual_seed(0)
    plain = build_detector(config).eval()
    batch = images(1)[0]
    ema = Ema(step.detector, EmaConfig(momentum=1.0))
    for trained in (False, True):
        if trained:
            step([images(1, seed=group.rank)], step=0)
            ema.update(step.detector, 0)
            plain.load_state_dict(gather_full(ema.average, keep=True))
        weights = gather_full(step.detector.state_dict(), keep=True)
        step.detector.eval()
        with averaged_weights(step.detector, ema), gathered(step.detector):
            for _ in range(1 + group.rank):
                found = step.detector(batch)
        step.detector.train()
        (expected,) = plain(batch)
        torch.testing.assert_close(found[0].scores, expected.scores, rtol=1e-4, atol=1e-5)
        assert same(gather_full(step.detector.state_dict(), keep=True), weights)
    step([images(1, seed=group.rank)], step=1)


# Few tensors: a sharded run's checkpoint takes an exchange for each of them.
CONFIG = config_with("co_deformable", VIT.model_copy(update={"depth": 1, "global_blocks": (0,)})).changed(
    [("rpn", None), ("roi", None), ("atss", None), ("query.transformer.decoder_layers", 1)]
)
NEVER = 10**9
TRAINING = TrainingConfig(
    epochs=1,
    clip_norm=0.1,
    optimizer=OptimizerConfig(lr=1e-3),
    schedule=ScheduleConfig(warmup_iterations=2),
    ema=EmaConfig(momentum=0.1, warmup_iterations=2),
    checkpoint=CheckpointConfig(keep=1),
)


def train(folder: Path, legs: Sequence[str], group: Processes) -> Outcome:
    """Train in one leg after the other, each of one step but the last; what the last one leaves."""
    for leg, distribution in enumerate(legs):
        torch.manual_seed(0)
        checkpoints = CheckpointFolder(folder, keep=1)
        group.on_main(partial(checkpoints.claim, {}))
        trainer = Trainer(
            build_detector(CONFIG),
            Drawn(3, seed=group.rank, images_per_step=group.world_size),
            TRAINING.model_copy(update={"distribution": distribution}),
            group,
            checkpoints,
            Hooks(StopAfter(0 if leg < len(legs) - 1 else NEVER), lambda values, step: None, Validation()),
        )
        with suppress(PreemptedError):
            outcome = trainer.run()
    return outcome


def check_resume(group: Processes, folder: Path) -> None:
    """Equal bits with the same distribution; equal up to rounding with the other."""
    expected = train(folder / "whole", ["fsdp"], group)
    resumed = train(folder / "resumed", ["fsdp", "fsdp"], group)
    mixed = train(folder / "mixed", ["ddp", "fsdp", "ddp"], group)
    if group.is_main:
        assert same(resumed.weights, expected.weights)
        assert resumed.published == expected.published
        torch.manual_seed(0)
        moved = distance(expected.weights, build_detector(CONFIG).state_dict())
        assert distance(mixed.weights, expected.weights) < 1e-3 * moved


def distance(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> float:
    return sum((one[name] - other[name]).double().square().sum().item() for name in one) ** 0.5


WORKER = """
import sys
from pathlib import Path
sys.path.insert(0, {root!r})
from tests.training import test_sharding
from codetr.distributed.processes import processes

with processes() as group:
    {calls}
"""


def run(count: int, path: Path, *calls: str) -> None:
    root = str(ROOT)
    run_on_ranks(WORKER.format(root=root, calls="; ".join(f"test_sharding.{call}" for call in calls)), count, path)


def test_sharded_steps_are_those_of_ddp(tmp_path: Path) -> None:
    run(2, tmp_path / "worker.py", "check_steps(group)", "check_memory(group)", "check_validation(group)")


def test_runs_resume_exactly_and_with_the_other_distribution(tmp_path: Path) -> None:
    """Three processes: with two, every order of summation gives the same sum."""
    run(3, tmp_path / "worker.py", f"check_resume(group, Path({str(tmp_path)!r}))")
