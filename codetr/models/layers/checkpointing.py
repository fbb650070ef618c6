"""Activation checkpointing (Chen et al., "Training Deep Nets with Sublinear Memory Cost", 2016), layer by layer.

A checkpointed layer keeps only its inputs in the forward pass of training; the backward pass runs it again. This costs
about one more forward pass of the layer.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint


def run_layer(layer: nn.Module, *inputs: Any, checkpointing: bool) -> Any:
    """Call a layer, with activation checkpointing if asked for.

    Args:
        layer: called again in the backward pass if it is checkpointed, with the same random numbers.
        inputs: arguments of the layer.
        checkpointing: keep no activations within the layer; no result changes. Ignored without gradients.

    Returns:
        The result of the layer.
    """
    if checkpointing and torch.is_grad_enabled():
        return checkpoint(layer, *inputs, use_reentrant=False)
    return layer(*inputs)
