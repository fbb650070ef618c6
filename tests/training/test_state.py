"""The state of a run without its tensors: what a checkpoint holds of it, and which validation is the best."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import pytest

from codetr.data.loading.unreadable import BadImage
from codetr.training.state import Position, Published, TrainingState


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


def test_the_best_validation_is_the_last_with_the_highest_ap() -> None:
    """Otherwise `publish=best` would publish other weights: those of the first epoch if every AP is 0."""
    state = TrainingState()
    for step, ap in enumerate([None, 0.2, 0.6, 0.6, 0.4]):
        state.position = Position(epoch=step, step=step)
        state.record_validation({"AP": ap})
    assert state.best == {"step": 3, "epoch": 4, "AP": 0.6}
    assert state.best_step == 3
    assert state.validation == {"AP": 0.4}
    assert state.best_validation == {"AP": 0.6}
    assert state.stale == 2


@pytest.mark.parametrize(
    ("publish", "aps", "step", "reason"),
    [
        ("best", [0.1, 0.3, 0.2], 2, "epoch 2 of 3 has the highest AP on the split val, 0.3000 (the last one: 0.2000)"),
        ("best", [0.1, 0.2, 0.3], 3, "val chose it, so the AP on val is optimistic"),
        ("best", [0.0, 0.0, 0.0], 3, "epoch 3 of 3"),
        ("best", [None, None, None], 3, "epoch 3 is the last one"),
        ("best", [], 3, "epoch 3 is the last one"),
        ("last", [0.1, 0.3, 0.2], 3, "AP 0.2000 on the split val, with training.publish=last (the best one: epoch 2"),
    ],
)
def test_what_is_published_and_why(publish: Any, aps: list[float | None], step: int, reason: str) -> None:
    """A reader of the log or of the report has to know that the val split chose the weights."""
    state = TrainingState()
    for epoch in range(3):
        state.position = Position(epoch=epoch, step=epoch + 1)
        if aps:
            state.record_validation({"AP": aps[epoch]})
    state.position.next_epoch()
    published = Published.of(state, publish)
    assert published.step == published.epoch == step
    assert reason in published.reason
    assert published.validation == ({"AP": aps[step - 1]} if aps else {})


def test_positions_advance_by_steps_and_epochs() -> None:
    position = Position()
    position.next_step(2)
    position.next_step(2)
    assert asdict(position) == {"epoch": 0, "batch": 4, "step": 2}
    position.next_epoch()
    assert asdict(position) == {"epoch": 1, "batch": 0, "step": 2}
