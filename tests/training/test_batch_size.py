"""The largest batch that fits, and the learning rate for it."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from codetr.core.errors import UserError
from codetr.models.detector import CoDETR, build_detector
from codetr.models.structures import ImageBatch, Target
from codetr.training.batch_size import MemoryTrial, extrapolated, largest_fitting, trial_batch
from codetr.training.config import OptimizerConfig
from codetr.training.schedule import describe_lr
from tests.support.training.tiny_training import CLASSES, tiny_config

GIB = 2**30


@given(st.integers(0, 200), st.integers(1, 130))
def test_the_largest_number_that_fits_is_found_without_trying_what_cannot(capacity: int, most: int) -> None:
    """A trial of twice as many as fit takes as long, and one of a number that failed is a waste."""
    tried: list[int] = []

    def fits(number: int) -> bool:
        tried.append(number)
        return number <= capacity

    assert largest_fitting(fits, most) == min(capacity, most)
    assert all(1 <= number <= min(max(2 * capacity, 1), most) for number in tried)
    assert len(tried) == len(set(tried)) <= 2 * most.bit_length()


def batch(count: int) -> tuple[ImageBatch, list[Target]]:
    return trial_batch(count, (64, 96), 3, classes=CLASSES, masks=False, device=torch.device("cpu"))


def trial(detector: CoDETR, available: int | None) -> MemoryTrial:
    return MemoryTrial(detector, batch, bf16=False, states=0, available=available)


def test_memory_bounds_the_batch_on_a_cpu_and_a_trial_changes_nothing() -> None:
    """Weights that a trial moved would be those of another run."""
    torch.manual_seed(0)
    detector = build_detector(tiny_config())
    before = {name: value.clone() for name, value in detector.state_dict().items()}
    assert largest_fitting(trial(detector, 64 * GIB).fits, 8) == 8
    assert largest_fitting(trial(detector, 1000).fits, 8) == 0
    assert all(torch.equal(value, before[name]) for name, value in detector.state_dict().items())
    assert all(parameter.grad is None for parameter in detector.parameters())


@given(st.integers(2, 64), st.floats(1, 1e9), st.floats(1, 1e9))
def test_a_larger_batch_is_expected_to_take_more(count: int, one: float, two: float) -> None:
    """Otherwise a noisy measurement lets a batch of any size through."""
    assert extrapolated(1, one, two) == one
    assert extrapolated(count, one, two) > extrapolated(count - 1, one, two)


def test_a_system_without_figures_asks_for_a_number() -> None:
    with pytest.raises(UserError, match=r"loader\.batch_size: 'auto': .* Give a number"):
        trial(build_detector(tiny_config()), None).fits(1)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu_the_trial_finds_the_limit_and_frees_what_it_took() -> None:
    device = torch.device("cuda")
    detector = build_detector(tiny_config()).to(device)
    before = torch.cuda.memory_allocated()

    def on_gpu(count: int) -> tuple[ImageBatch, list[Target]]:
        return trial_batch(count, (64, 96), 3, classes=CLASSES, masks=False, device=device)

    assert MemoryTrial(detector, on_gpu, bf16=False, states=0, available=None).fits(1)
    total = torch.cuda.get_device_properties(device).total_memory
    assert not MemoryTrial(detector, on_gpu, bf16=False, states=total, available=None).fits(1)
    assert torch.cuda.memory_allocated() == before


def test_the_learning_rate_follows_the_batch_as_the_recipe_says() -> None:
    """Twice the images with the same learning rate is another training; scaled silently, the published one."""
    recipe = OptimizerConfig(lr=2e-4, reference_batch=16)
    assert recipe.for_images(4) == recipe, "nothing changes by itself"
    linear, sqrt = (recipe.model_copy(update={"scale_lr": rule}) for rule in ("linear", "sqrt"))
    assert linear.for_images(4).lr == pytest.approx(5e-5)
    assert sqrt.for_images(4).lr == pytest.approx(1e-4)
    assert linear.for_images(64).lr == pytest.approx(8e-4)
    for settings in (recipe, linear, sqrt):
        assert settings.for_images(16).lr == 2e-4, "to the last bit"
    with pytest.raises(UserError, match="scale_lr needs reference_batch"):
        OptimizerConfig().override(["scale_lr=linear"])


def test_another_batch_than_the_recipes_is_said() -> None:
    """A learning rate that is four times too high is the usual reason for a bad first run on one GPU."""
    recipe = OptimizerConfig(lr=2e-4, reference_batch=16)
    assert describe_lr(recipe, recipe, 16) is None
    assert describe_lr(OptimizerConfig(), OptimizerConfig(), 3) is None
    line = describe_lr(recipe, recipe, 2)
    assert line is not None
    assert "a step has 2 images" in line
    assert "is meant for 16" in line
    linear = recipe.model_copy(update={"scale_lr": "linear"})
    line = describe_lr(linear, linear.for_images(2), 2)
    assert line is not None
    assert "is 2.5e-05: 0.0002 for 16 images a step, scaled to 2" in line
