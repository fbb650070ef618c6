"""Statistics of the losses between rows of metrics and over an epoch; part of every checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from codetr.core.errors import UserError

EARLY_STEPS = 100
"""Steps after which losses are examined for the first time; an epoch of a large dataset takes hours."""


class LossStatistics:
    """Means of the losses since the last row, and the largest value of every loss in this epoch."""

    def __init__(self, state: Mapping[str, Any] | None = None) -> None:
        """Start empty, or from what `state` returned."""
        values = state or {"steps": 0, "sums": {}, "peaks": {}, "objects": 0, "peak_steps": 0, "warned": []}
        self._steps: int = values["steps"]
        self._sums: dict[str, float] = dict(values["sums"])
        self._peaks: dict[str, float] = dict(values["peaks"])
        self._objects: int = values["objects"]
        self._peak_steps: int = values["peak_steps"]
        self._warned: list[str] = list(values["warned"])

    def state(self) -> dict[str, Any]:
        """Return plain values for a checkpoint."""
        return {
            "steps": self._steps,
            "sums": dict(self._sums),
            "peaks": dict(self._peaks),
            "objects": self._objects,
            "peak_steps": self._peak_steps,
            "warned": list(self._warned),
        }

    @property
    def objects(self) -> int:
        """Objects on the images of this process in this epoch."""
        return self._objects

    @property
    def early(self) -> bool:
        """Return whether the losses should be examined now, within the epoch."""
        return self._peak_steps == EARLY_STEPS

    def add(self, values: Mapping[str, float], *, objects: int, untrained: bool = False) -> None:
        """Add the values of one step.

        Args:
            values: losses by name.
            objects: number of objects on its images, of this process.
            untrained: this is the first step of a run. `examine` ignores it: queries that are initialised on their
                objects have a loss of exactly zero before any weight has changed.
        """
        self._steps += 1
        for name, value in values.items():
            self._sums[name] = self._sums.get(name, 0.0) + value
            if not untrained:
                self._peaks[name] = max(self._peaks.get(name, 0.0), abs(value))
        if not untrained:
            self._objects += objects
            self._peak_steps += 1

    def take_means(self) -> dict[str, float]:
        """Return the mean of every value since the last call, and reset the means."""
        means = {name: value / self._steps for name, value in self._sums.items()}
        self._steps, self._sums = 0, {}
        return means

    def examine(self, objects: int) -> list[str]:
        """Return the names of the losses that have been exactly zero in this epoch, each only once in a run.

        Such a loss need not be wrong: the RPN has no positive anchors for objects smaller than half of its smallest
        anchor, and without objects only classifications learn.

        Args:
            objects: number of objects on the images of this epoch so far, of all processes.

        Raises:
            UserError: there were objects, and no loss of any box was above zero; or no loss at all was.
        """
        dead = [name for name, peak in self._peaks.items() if peak == 0]
        of_boxes = [name for name in self._peaks if name != "total" and not name.endswith(".cls")]
        if dead and (len(dead) == len(self._peaks) or (objects and set(of_boxes) <= set(dead))):
            what = "every loss" if len(dead) == len(self._peaks) else "every loss of boxes"
            raise UserError(
                f"{what} was exactly zero in {self._peak_steps} steps on images with {objects} objects",
                where="training stopped",
                hint="The model learns nothing. Are the boxes where the objects are, and are the weights of the losses "
                "and the thresholds of the assigners above zero?",
            )
        new = [name for name in dead if name not in self._warned]
        self._warned += new
        return new

    def end_epoch(self) -> None:
        """Forget the largest values and the objects of the epoch."""
        self._peaks, self._objects, self._peak_steps = {}, 0, 0
