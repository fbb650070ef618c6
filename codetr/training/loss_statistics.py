"""Statistics of the losses between rows of metrics and over an epoch; part of every checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from codetr.core.errors import UserError


class LossStatistics:
    """Means of the losses since the last row, and the largest value of every loss in this epoch."""

    def __init__(self, state: Mapping[str, Any] | None = None) -> None:
        """Start empty, or from what `state` returned."""
        values = state or {"steps": 0, "sums": {}, "peaks": {}}
        self._steps: int = values["steps"]
        self._sums: dict[str, float] = dict(values["sums"])
        self._peaks: dict[str, float] = dict(values["peaks"])

    def state(self) -> dict[str, Any]:
        """Return plain values for a checkpoint."""
        return {"steps": self._steps, "sums": dict(self._sums), "peaks": dict(self._peaks)}

    def add(self, values: Mapping[str, float], *, untrained: bool = False) -> None:
        """Add the values of one step.

        Args:
            values: losses by name.
            untrained: this is the first step of a run. `end_epoch` ignores it: queries that are initialised on their
                objects have a loss of exactly zero before any weight has changed.
        """
        self._steps += 1
        for name, value in values.items():
            self._sums[name] = self._sums.get(name, 0.0) + value
            if not untrained:
                self._peaks[name] = max(self._peaks.get(name, 0.0), abs(value))

    def take_means(self) -> dict[str, float]:
        """Return the mean of every value since the last call, and reset the means."""
        means = {name: value / self._steps for name, value in self._sums.items()}
        self._steps, self._sums = 0, {}
        return means

    def end_epoch(self, epoch: int) -> None:
        """Check the losses of an epoch, and reset the largest values.

        Args:
            epoch: the epoch that ended, from 0.

        Raises:
            UserError: a loss was exactly zero in every step of the epoch, so a part of the model learned nothing.
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
