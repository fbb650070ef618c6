"""Comparison of the keys and shapes of state dicts, so that nothing is silently missing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from codetr.core.errors import UserError
from codetr.models.config import DetectorConfig
from codetr.models.detector import CoDETR


@dataclass(frozen=True)
class KeyReport:
    """Differences between the state dicts of a model and of given weights; every list is complete and sorted.

    Attributes:
        missing: keys of the model that the weights do not have.
        unexpected: keys of the weights that the model does not have.
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
        """Whether there are no differences."""
        return not (self.missing or self.unexpected or self.mismatched)

    def require_match(self, where: str) -> None:
        """Check that there are no differences.

        Args:
            where: file or source of the weights, for the message.

        Raises:
            UserError: there are differences; it lists every missing, unexpected and mismatched key.
        """
        lines = [f"missing: {key}" for key in self.missing]
        lines += [f"unexpected: {key}" for key in self.unexpected]
        lines += [
            f"shape of {key}: expected {list(expected)}, got {list(given)}" for key, expected, given in self.mismatched
        ]
        if lines:
            raise UserError(
                f"{len(lines)} keys do not fit the configuration: {'; '.join(lines)}",
                where=where,
                hint="Use the configuration that the weights were trained with.",
            )


def meta_detector(config: DetectorConfig) -> CoDETR:
    """Build a detector for the names and shapes of its tensors: those that could be large are on the meta device."""
    with _WithoutValues():
        return CoDETR(config)


class _WithoutValues(TorchFunctionMode):
    """Make tensors on the meta device, without memory, and leave out the drawing of their values.

    Unlike under `torch.device("meta")`, what is computed from numbers, such as indices, stays on the CPU: most
    operations on the meta device import the machinery of `torch.compile`, which takes as long as importing PyTorch.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        given = dict(kwargs or {})
        if func in _DRAWING:
            return args[0] if args else given["tensor"]
        if func in _MAKING:
            given["device"] = "meta"
        return func(*args, **given)


_MAKING: frozenset[Callable[..., Any]] = frozenset((torch.empty, torch.zeros, torch.ones))
_DRAWING: frozenset[Callable[..., Any]] = frozenset(
    (Tensor.normal_, Tensor.uniform_, nn.init.normal_, nn.init.uniform_)
)


def non_persistent_buffers(module: nn.Module) -> dict[str, Tensor]:
    """Return the buffers that are not part of the state dict, by name; they follow from the configuration.

    Model folders do not contain them. Published checkpoints do, with redundant values.
    """
    weights = module.state_dict().keys()
    return {name: buffer for name, buffer in module.named_buffers() if name not in weights}
