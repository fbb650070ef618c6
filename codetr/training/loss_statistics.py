"""What is counted between rows of metrics and over an epoch; part of every checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from codetr.core.errors import UserError


class Statistics:
    """Mean losses since the last row, and the largest value of every loss in this epoch."""

    def __init__(self, state: Mapping[str, Any] | None = None) -> None:
        """Args: what `state` gave, to go on from there."""
        values = state or {"steps": 0, "sums": {}, "peaks": {}}
        self._steps: int = values["steps"]
        self._sums: dict[str, float] = dict(values["sums"])
        self._peaks: dict[str, float] = dict(values["peaks"])

    def state(self) -> dict[str, Any]:
        """Plain values for a checkpoint."""
        return {"steps": self._steps, "sums": dict(self._sums), "peaks": dict(self._peaks)}

    def add(self, values: Mapping[str, float], *, untrained: bool = False) -> None:
        """Count the values of one step.

        Args:
            values: losses by name.
            untrained: this is a run's first step. It does not count for `end_epoch`: queries that start on their
                objects are exactly right before any weight has moved.
        """
        self._steps += 1
        for name, value in values.items():
            self._sums[name] = self._sums.get(name, 0.0) + value
            if not untrained:
                self._peaks[name] = max(self._peaks.get(name, 0.0), abs(value))

    def take_means(self) -> dict[str, float]:
        """Mean of every value since the last call; starts anew."""
        means = {name: value / self._steps for name, value in self._sums.items()}
        self._steps, self._sums = 0, {}
        return means

    def end_epoch(self, epoch: int) -> None:
        """Start counting anew for the next epoch.

        Args:
            epoch: the one that ended, from 0.

        Raises:
            UserError: a value was exactly zero in every step of the epoch, so part of the model learned nothing.
        """
        dead = [name for name, peak in self._peaks.items() if peak == 0]
        self._peaks = {}
        if dead:
            names = ", ".join(f"'{name}'" for name in dead)
            raise UserError(
                f"{names} was exactly zero in every step of epoch {epoch + 1}",
                where="training stopped",
                hint="A part of the model learns nothing. Are there annotations for it, and are its assigner's "
                "thresholds and its loss weight above zero?",
            )
