"""Activation checkpointing (Chen et al., "Training Deep Nets with Sublinear Memory Cost", 2016), layer by layer.

Parts of the detector that are checkpointed keep only the inputs of their layers in a training pass; the backward pass
runs each layer again when it gets there. It costs about one more forward pass of the part.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint


def run_layer(layer: nn.Module, *inputs: Any, checkpointing: bool) -> Any:
    """What a layer makes of its inputs.

    Args:
        layer: called again in the backward pass if it is checkpointed, with the same random draws.
        inputs: of the layer.
        checkpointing: keep no activations within the layer. It changes no number.
    """
    if checkpointing and torch.is_grad_enabled():
        return checkpoint(layer, *inputs, use_reentrant=False)
    return layer(*inputs)
