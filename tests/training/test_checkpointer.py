"""When a run is saved."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from codetr.distributed.processes import Processes
from codetr.models.detector import build_detector
from codetr.training.checkpoint_folder import CheckpointFolder
from codetr.training.checkpointer import Checkpointer
from codetr.training.config import CheckpointConfig, TrainingConfig
from codetr.training.trained_model import TrainedModel
from tests.support.training.tiny_training import tiny_config

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("minutes", "rank", "overdue"), [(15, 0, True), (15.1, 0, False), (15, 1, False), (None, 0, False), (0, 0, False)]
)
def test_checkpoints_by_time_are_taken_by_the_clock_of_rank_0(
    tmp_path: Path, minutes: float | None, rank: int, overdue: bool
) -> None:
    """Ranks that decide by themselves would save at different steps, and wait for one another for ever."""
    seconds = 0.0
    model = TrainedModel(build_detector(tiny_config()), TrainingConfig(), Processes(0, 1, CPU))
    checkpointer = Checkpointer(
        CheckpointFolder(tmp_path, keep=1),
        model,
        Processes(rank, 2, CPU),
        CheckpointConfig(every_minutes=minutes),
        clock=lambda: seconds,
    )
    seconds = 15 * 60.0
    assert checkpointer.overdue() == overdue
