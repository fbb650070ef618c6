"""L1 loss of box coordinates or encoded box deltas."""

from __future__ import annotations

from torch import Tensor

from codetr.models.losses.reduction import weighted_mean


def l1_loss(predictions: Tensor, targets: Tensor, weights: Tensor | None, divisor: Tensor | float) -> Tensor:
    """Return the absolute differences, summed over the four coordinates and reduced to a scalar.

    Args:
        predictions: (items, 4) boxes or deltas.
        targets: (items, 4), in the format and units of the predictions.
        weights: (items,) or None.
        divisor: see `weighted_mean`.
    """
    return weighted_mean((predictions - targets).abs().sum(dim=-1), weights, divisor)
