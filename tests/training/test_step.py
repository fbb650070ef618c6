"""One optimiser step: gradients over micro-batches and processes, repeatability, and losses that are not finite."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor

from codetr.core.errors import UserError
from codetr.distributed.processes import Processes
from codetr.models.config import DetectorKind, FederatedConfig
from codetr.models.detector import build_detector
from codetr.models.structures import Target
from codetr.training.config import OptimizerConfig
from codetr.training.optimizer import build_optimizer
from codetr.training.step import TrainStep, use_bf16
from tests.support.paths import ROOT
from tests.support.training.ranks import run_on_ranks
from tests.support.training.tiny_training import Pinned, cut, images, tiny_config

ALONE = Processes(0, 1, torch.device("cpu"))


def make(
    kind: DetectorKind,
    *,
    processes: Processes = ALONE,
    pinned: bool = True,
    clip_norm: float | None = None,
    bf16: bool = False,
    lr: float = 1e-3,
    federated: int | None = None,
) -> TrainStep:
    torch.manual_seed(0)
    config = FederatedConfig(classes=federated) if federated else None
    detector = build_detector(tiny_config(kind).model_copy(update={"federated": config})).train()
    if detector.federated is not None:
        detector.federated.images_per_class = torch.tensor([100, 30, 1])
    model = Pinned(detector) if pinned else detector
    optimizer = build_optimizer(model, OptimizerConfig(lr=lr))
    return TrainStep(model, optimizer, processes, clip_norm=clip_norm, bf16=bf16, seed=0)


def prefixed(name: str) -> Callable[[str], str]:
    """Name the tensor in the messages of `assert_close`."""
    return lambda message: f"{name}: {message}"


def gradients(step: TrainStep) -> dict[str, Tensor]:
    return {name: p.grad.clone() for name, p in step.detector.named_parameters() if p.grad is not None}


def assert_same_gradients(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-3, atol=1e-5, msg=prefixed(name))


@pytest.mark.parametrize(
    ("kind", "objects", "federated"),
    [
        (
            "co_dino",
            [2, 2, 2, 2],
            None,
        ),  # denoising groups depend on the fullest image of a forward pass, by definition
        ("co_deformable", [2, 2, 2, 2], None),
        ("co_deformable", [3, 0, 1, 0], None),
        ("co_dino", [2, 2, 2, 2], 2),
        ("co_deformable", [3, 0, 1, 0], 1),
    ],
)
def test_micro_batches_give_the_gradient_of_the_large_batch(
    kind: DetectorKind, objects: list[int], federated: int | None
) -> None:
    """Losses divided by the counts of each micro-batch would weight images with few objects too much."""
    batch, targets = images(4, objects=3)
    targets = [
        Target(target.boxes[:count], target.labels[:count]) for target, count in zip(targets, objects, strict=True)
    ]
    whole, parts = make(kind, federated=federated), make(kind, federated=federated)
    expected = whole.backward([(batch, targets)], step=0)
    found = parts.backward(cut(batch, targets, 4), step=0)
    for name, loss in expected.items():
        torch.testing.assert_close(found[name], loss, rtol=1e-4, atol=1e-5, msg=prefixed(name))
    assert_same_gradients(gradients(parts), gradients(whole))


def test_plain_accumulation_would_be_noticed() -> None:
    """The test above must be able to fail: dividing by the counts of each micro-batch gives another gradient."""
    batch, targets = images(4, objects=3)
    targets = [Target(target.boxes[:n], target.labels[:n]) for target, n in zip(targets, [3, 0, 1, 0], strict=True)]
    whole, plain = make("co_deformable"), make("co_deformable")
    whole.backward([(batch, targets)], step=0)
    for part in cut(batch, targets, 4):
        plain.backward([part], step=0)
    expected, found = gradients(whole), gradients(plain)
    differing = [n for n in expected if not torch.allclose(found[n] / 4, expected[n], rtol=1e-3, atol=1e-5)]
    assert len(differing) > len(expected) / 2


WORKER = """
import sys
import torch
sys.path[:0] = [{root!r}]
from tests.training.test_step import gradients, make
from tests.support.training.tiny_training import cut, images
from codetr.core.errors import UserError
from codetr.distributed.processes import processes

with processes() as group:
    batch, targets = images(4)
    half, quarters = cut(batch, targets, 2)[group.rank], cut(batch, targets, 4)[2 * group.rank : 2 * group.rank + 2]
    for kind, images_of_rank, federated in {cases!r}:
        step = make(kind, processes=group, federated=federated)
        step.backward([half] if images_of_rank == "half" else quarters, step=0)
        if group.is_main:
            torch.save(gradients(step), {out!r} + f"{{kind}}-{{federated}}")
    assert group.gather(group.rank) == [0, 1]
    assert group.broadcast(group.rank) == 0
    assert group.mean(torch.tensor([float(group.rank)])).tolist() == [0.5]
    done = []
    assert group.on_main(lambda: done.append(group.rank) or 7 + group.rank) == 7
    assert done == [0] * group.is_main
    everywhere = []
    assert group.main_first(lambda: everywhere.append(group.rank) or 7 + group.rank) == 7
    assert everywhere == [group.rank]

    def mistake() -> None:
        raise UserError("only rank 0 looked")

    try:
        group.on_main(mistake)
    except UserError:
        assert group.is_main
    except SystemExit as silent:
        assert not group.is_main and silent.code == 2
    else:
        raise AssertionError("a mistake rank 0 found must end every rank")
"""


def test_two_processes_give_the_gradient_of_one_with_twice_the_batch(tmp_path: Path) -> None:
    """Otherwise adding a GPU would change the result of training. With and without accumulation, and with classes that
    count in some of the images only."""
    kinds: tuple[tuple[DetectorKind, str], ...] = (("co_dino", "half"), ("co_deformable", "quarters"))
    cases = [(kind, part, count) for kind, part in kinds for count in (0, 2)]
    script = WORKER.format(root=str(ROOT), out=str(tmp_path / "gradients-"), cases=cases)
    run_on_ranks(script, 2, tmp_path / "worker.py")
    for kind, _, federated in cases:
        whole = make(kind, federated=federated)
        whole.backward([images(4)], step=0)
        found = torch.load(tmp_path / f"gradients-{kind}-{federated}", weights_only=True)
        assert_same_gradients(found, gradients(whole))
        assert {len(target.labels.unique()) for target in images(4)[1]} == {1, 2}


RESUMING = """
import sys
import torch
sys.path[:0] = [{root!r}]
from tests.training.test_step import make
from tests.support.training.tiny_training import cut, images
from codetr.distributed.processes import processes
from codetr.training.step import TrainStep

with processes() as group:
    batch = cut(*images(3), 3)[group.rank]
    ends = []
    for resumed in (False, True):
        step = make("co_dino", processes=group)
        for index in range(4):
            if resumed and index == 2:
                step = TrainStep(step.detector, step.optimizer, group, clip_norm=None, bf16=False, seed=0)
            # Clocks differ between machines: rank 0 asks, and all save.
            result = step([batch], step=index, save=group.is_main and index == 1)
            assert result.save == (index == 1) and not result.stop
        ends.append(list(step.detector.parameters()))
    assert all(torch.equal(one, other) for one, other in zip(*ends, strict=True))
"""


def test_three_restarted_processes_continue_with_the_same_bits(tmp_path: Path) -> None:
    """With two ranks every order of adding gives the same sum; with three it must not depend on the start."""
    run_on_ranks(RESUMING.format(root=str(ROOT)), 3, tmp_path / "worker.py")


@pytest.mark.parametrize("federated", [None, 1], ids=["all", "federated"])
def test_a_step_is_repeatable_with_its_random_draws(federated: int | None) -> None:
    """Denoising noise and samplers draw; the same step must draw the same, another step something else."""
    batch = images(2)
    losses = [make("co_dino", pinned=False, federated=federated).backward([batch], step=step) for step in (3, 3, 4)]
    assert all(torch.equal(losses[0][name], losses[1][name]) for name in losses[0])
    assert any(not torch.equal(losses[0][name], losses[2][name]) for name in losses[0])


def test_accumulation_counts_and_learns_from_the_same_draws() -> None:
    """If the counting pass drew other samples, divisors would belong to other samples than the losses."""
    parts = cut(*images(4), 2)
    step = make("co_dino", pinned=False)
    assert torch.equal(step._count(parts, step=5), step._count(parts, step=5))
    assert not torch.equal(step._count(parts, step=5), step._count(parts[::-1] + parts, step=5))


def test_a_step_moves_the_weights_against_the_gradient_and_clips_it() -> None:
    step = make("co_dino", clip_norm=0.1)
    before = {name: p.detach().clone() for name, p in step.detector.named_parameters()}
    result = step([images(2)], step=0)
    assert result.grad_norm > 0.1, "the norm is reported as it was before clipping"
    norms = torch.stack([p.grad.norm() for p in step.detector.parameters() if p.grad is not None])
    assert norms.norm().item() == pytest.approx(0.1, rel=1e-3)
    for name, p in step.detector.named_parameters():
        if p.grad is not None and p.grad.abs().max() > 1e-6:
            assert not torch.equal(p, before[name]), name
    assert result.losses["total"] == pytest.approx(sum(v for k, v in result.losses.items() if k != "total"))


def test_a_loss_that_is_not_finite_stops_with_its_name_and_images_and_leaves_the_weights() -> None:
    step = make("co_dino")
    before = {name: p.detach().clone() for name, p in step.detector.named_parameters()}
    batch, targets = images(2, seed=3)
    batch.pixels[1, 0, 5, 5] = float("nan")
    with pytest.raises(UserError) as caught:
        step([(batch, targets)], step=41)
    message = str(caught.value)
    assert "step 42" in message
    assert "images [300, 301]" in message
    assert "loss 'decoder0.cls' is nan" in message
    assert all(torch.equal(p, before[name]) for name, p in step.detector.named_parameters())


def test_a_gradient_that_is_not_finite_stops_although_every_loss_is_finite() -> None:
    step = make("co_dino")

    def poison(gradient: Tensor) -> Tensor:
        return gradient * float("inf")

    next(p for p in step.detector.parameters() if p.requires_grad).register_hook(poison)
    with pytest.raises(UserError, match="the gradient is not finite at step 1, images \\[0, 1\\]"):
        step([images(2)], step=0)


def test_bf16_training_stays_close_to_fp32() -> None:
    """A head that overflowed or lost its boxes in bf16 would only be seen on a GPU, weeks later."""
    exact = make("co_dino")([images(2)], step=0).losses
    with torch.backends.mkldnn.flags(enabled=False):  # its bf16 gradients are wrong on CPUs
        rough = make("co_dino", bf16=True)([images(2)], step=0).losses
    assert exact.keys() == rough.keys()
    assert rough["total"] == pytest.approx(exact["total"], rel=0.05)


def test_a_cpu_computes_in_fp32_and_says_so() -> None:
    assert not use_bf16("auto", torch.device("cpu"))
    with pytest.raises(UserError, match=r"training.precision: 'bf16' needs a GPU"):
        use_bf16("bf16", torch.device("cpu"))


@pytest.mark.parametrize("kind", ["co_dino", "co_deformable"])
@pytest.mark.parametrize("auxiliary", [True, False])
def test_every_trainable_parameter_gets_a_gradient_even_without_objects(kind: DetectorKind, auxiliary: bool) -> None:
    """Distributed training waits for every trainable parameter's gradient, and would fail without one."""
    config = tiny_config(kind)
    if not auxiliary:
        config = config.model_copy(update={"rpn": None, "roi": None, "atss": None})
    detector = build_detector(config).train()
    step = TrainStep(detector, build_optimizer(detector, OptimizerConfig()), ALONE, clip_norm=None, bf16=False, seed=0)
    step.backward([images(2, objects=0)], step=0)
    assert [name for name, p in detector.named_parameters() if p.requires_grad and p.grad is None] == []
