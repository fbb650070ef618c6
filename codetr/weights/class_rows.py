"""Where in a detector's weights its classes are, found by comparing detectors that know one class and two."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from codetr.models.config import DetectorConfig
from codetr.weights.keys import meta_detector


@dataclass(frozen=True)
class ClassRows:
    """The rows of a tensor's first axis: so many for each class, in order of labels, then some that are no class's.

    Attributes:
        each: rows of a class, e.g. 4 where boxes are regressed by class.
        after: rows after those of the classes, e.g. 1 for background.
    """

    each: int
    after: int

    def split(self, tensor: Tensor) -> tuple[Tensor, Tensor]:
        """Views (classes, rows of a class, ...) and (rows after, ...) of a tensor (rows, ...)."""
        classes = (len(tensor) - self.after) // self.each
        rows = classes * self.each
        return tensor[:rows].unflatten(0, (classes, self.each)), tensor[rows:]


def class_rows(config: DetectorConfig) -> dict[str, ClassRows]:
    """The tensors of a detector that have rows for classes, by name."""
    one, two = (_shapes(config, classes) for classes in (1, 2))
    found = {}
    for name, shape in one.items():
        if two[name] != shape:
            # Classes are rows in every layer that knows them; a layer that has them elsewhere would not be understood.
            assert two[name][1:] == shape[1:], name
            each = two[name][0] - shape[0]
            found[name] = ClassRows(each, shape[0] - each)
    return found


def _shapes(config: DetectorConfig, classes: int) -> Mapping[str, tuple[int, ...]]:
    detector = meta_detector(config.with_classes(classes))
    return {name: tuple(value.shape) for name, value in detector.state_dict().items()}
