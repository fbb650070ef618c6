"""The learning rate over a run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from codetr.training.config import OptimizerConfig, ScheduleConfig
from codetr.training.optimizer import build_optimizer
from codetr.training.schedule import lr_factor, set_learning_rate


@pytest.mark.parametrize("name", ["vit_coco", "r50_1x", "vit_lvis"])
def test_the_learning_rate_is_the_official_one_at_every_recorded_iteration(golden: Path, name: str) -> None:
    official = json.loads((golden / "optim" / "lr_schedules.json").read_text())[name]
    settings = official["cfg"]
    config = ScheduleConfig(
        milestones=tuple(settings["step"]),
        warmup_iterations=settings.get("warmup_iters", 0),
        warmup_ratio=settings.get("warmup_ratio", 0.01),
    )
    for epoch, iteration, lr in official["rows_epoch_iter_lr"]:
        assert official["base_lr"] * lr_factor(config, step=iteration, epoch=epoch) == pytest.approx(lr), iteration


def test_milestones_from_the_end_follow_the_number_of_epochs() -> None:
    """A recipe run for more or fewer epochs would drop its learning rate too early or never."""
    schedule = ScheduleConfig(milestones=(4, -3, -1))
    assert schedule.resolved(12).milestones == (4, 9, 11)
    assert schedule.resolved(5).milestones == (2, 4)
    assert ScheduleConfig(milestones=(-1,)).resolved(1).milestones == (), "one epoch keeps its learning rate"


def test_every_group_keeps_its_proportion() -> None:
    """A schedule that set one learning rate for all groups would train the backbone ten times too fast."""
    detector = nn.ModuleDict({"backbone": nn.Linear(2, 2), "head": nn.Linear(2, 2)})
    optimizer = build_optimizer(detector, OptimizerConfig(lr=1e-3))
    highest = set_learning_rate(optimizer, ScheduleConfig(milestones=(2,)), step=100, epoch=2)
    assert highest == pytest.approx(1e-4)
    rates = [group["lr"] for group in optimizer.param_groups]
    assert torch.tensor(rates).tolist() == pytest.approx([1e-5, 1e-4])
