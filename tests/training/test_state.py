"""The state of a run without its tensors: what a checkpoint holds of it, and which validation is the best."""

from __future__ import annotations

from dataclasses import asdict

import pytest

from codetr.data.loading.unreadable import BadImage
from codetr.training.state import Position, TrainingState


def test_a_state_is_restored_from_its_checkpoint() -> None:
    """A field that is not saved would make a resumed run another one."""
    state = TrainingState(Position(epoch=1, batch=4, step=9), metrics_size=120)
    state.statistics.add({"roi.cls": 2.0}, objects=1)
    state.bad_images.add([BadImage(3, "a.jpg", "no such file")])
    state.record_validation({"AP": 0.5, "AP50": None})
    restored = TrainingState.from_dict(state.to_dict())
    assert restored.to_dict() == state.to_dict()
    assert restored.position == state.position
    assert restored.metrics_size == 120


def test_a_checkpoint_without_a_field_is_refused() -> None:
    values = TrainingState().to_dict()
    del values["position"]
    with pytest.raises(KeyError):
        TrainingState.from_dict(values)


def test_the_best_validation_is_the_first_with_the_highest_ap() -> None:
    """Otherwise `publish=best` would publish other weights."""
    state = TrainingState()
    for step, ap in enumerate([None, 0.2, 0.6, 0.6, 0.4]):
        state.position = Position(epoch=step, step=step)
        state.record_validation({"AP": ap})
    assert state.best == {"step": 2, "epoch": 3, "AP": 0.6}
    assert state.best_step == 2
    assert state.validation == {"AP": 0.4}


def test_positions_advance_by_steps_and_epochs() -> None:
    position = Position()
    position.next_step(2)
    position.next_step(2)
    assert asdict(position) == {"epoch": 0, "batch": 4, "step": 2}
    position.next_epoch()
    assert asdict(position) == {"epoch": 1, "batch": 0, "step": 2}
