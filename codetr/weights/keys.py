"""Comparing the keys and shapes of two state dicts, so that nothing is silently missing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from codetr.core.errors import UserError
from codetr.models.config import DetectorConfig
from codetr.models.detector import CoDETR


@dataclass(frozen=True)
class KeyReport:
    """How given weights differ from what a model expects; every list is complete and sorted.

    Attributes:
        missing: keys of the model that the weights lack.
        unexpected: keys of the weights that the model lacks.
        mismatched: key, expected shape, given shape.
    """

    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    mismatched: tuple[tuple[str, tuple[int, ...], tuple[int, ...]], ...]

    @classmethod
    def compare(cls, expected: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> KeyReport:
        """Compare two state dicts by key and shape."""
        shared = sorted(expected.keys() & given.keys())
        return cls(
            missing=tuple(sorted(expected.keys() - given.keys())),
            unexpected=tuple(sorted(given.keys() - expected.keys())),
            mismatched=tuple(
                (key, tuple(expected[key].shape), tuple(given[key].shape))
                for key in shared
                if expected[key].shape != given[key].shape
            ),
        )

    @property
    def fits(self) -> bool:
        """Whether there is no difference at all."""
        return not (self.missing or self.unexpected or self.mismatched)

    def require_match(self, where: str) -> None:
        """Raise `UserError` that lists every missing, unexpected and mismatched key, if there is any."""
        lines = [f"missing: {key}" for key in self.missing]
        lines += [f"unexpected: {key}" for key in self.unexpected]
        lines += [
            f"shape of {key}: expected {list(expected)}, got {list(given)}" for key, expected, given in self.mismatched
        ]
        if lines:
            raise UserError(
                f"{len(lines)} keys do not fit the configuration:\n  " + "\n  ".join(lines),
                where=where,
                hint="The weights belong to another configuration, or the configuration was changed.",
            )


def meta_detector(config: DetectorConfig) -> CoDETR:
    """A detector without values, on PyTorch's meta device: its names and shapes, in a moment and without memory."""
    with torch.device("meta"):
        return CoDETR(config)


def non_persistent_buffers(module: nn.Module) -> dict[str, Tensor]:
    """Buffers that follow from the configuration, by name: PyTorch's non-persistent ones.

    Weights in our format do not hold them. Published checkpoints do; what they hold says nothing new.
    """
    weights = module.state_dict().keys()
    return {name: buffer for name, buffer in module.named_buffers() if name not in weights}
