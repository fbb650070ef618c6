"""Rows of a detector's weights that belong to classes, found by comparing detectors with one and two classes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from codetr.models.config import DetectorConfig
from codetr.weights.keys import meta_detector


@dataclass(frozen=True)
class ClassRows:
    """Layout of a tensor's first axis: a number of rows for each class, in label order, then rows of no class.

    Attributes:
        each: rows per class, e.g. 4 for class-specific box regression.
        after: rows after those of the classes, e.g. 1 for background.
    """

    each: int
    after: int

    def split(self, tensor: Tensor) -> tuple[Tensor, Tensor]:
        """Return views (classes, rows of a class, ...) and (rows after, ...) of a tensor (rows, ...)."""
        classes = (len(tensor) - self.after) // self.each
        rows = classes * self.each
        return tensor[:rows].unflatten(0, (classes, self.each)), tensor[rows:]


def class_rows(config: DetectorConfig) -> dict[str, ClassRows]:
    """Return the class rows of a detector's tensors, by name of the tensor."""
    one, two = (_shapes(config, classes) for classes in (1, 2))
    rows = {}
    for name, shape in one.items():
        if two[name] != shape:
            # Every layer that depends on classes has them on the first axis.
            assert two[name][1:] == shape[1:], name
            each = two[name][0] - shape[0]
            rows[name] = ClassRows(each, shape[0] - each)
    return rows


def _shapes(config: DetectorConfig, classes: int) -> Mapping[str, tuple[int, ...]]:
    detector = meta_detector(config.with_classes(classes))
    return {name: tuple(value.shape) for name, value in detector.state_dict().items()}
