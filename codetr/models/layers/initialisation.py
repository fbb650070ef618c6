"""Initial values that several modules share."""

from __future__ import annotations

import math

from torch import nn

PRIOR_LOGIT = -math.log(0.99 / 0.01)
"""Bias of classifiers with which every class has a score of 0.01 before training (Lin et al., "Focal loss", ICCV 2017,
section 3.3)."""


def xavier_init(module: nn.Module) -> None:
    """Fill every matrix of `module` with Xavier-uniform values, in place; vectors keep their values.

    The transformer of DETR and its successors starts this way (Carion et al., ECCV 2020).
    """
    for parameter in module.parameters():
        if parameter.dim() > 1:
            nn.init.xavier_uniform_(parameter)
