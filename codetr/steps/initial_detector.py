"""The detector as training starts: random weights, or those of a backbone or of another detector."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import partial

from torch import nn

from codetr.distributed.processes import Processes
from codetr.models.detector import CoDETR, build_detector
from codetr.training.randomness import derive_seed, seed_all
from codetr.weights.fine_tuning import TransferReport, init_from
from codetr.weights.pretrained.load import load_backbone
from codetr.zoo.recipe import Recipe


def initial_detector(
    recipe: Recipe, class_names: Sequence[str], group: Processes
) -> tuple[CoDETR, TransferReport | None]:
    """Build the detector with the same random weights on every rank, and load the recipe's initial weights.

    Args:
        recipe: with the number of classes of `class_names`.
        class_names: of the dataset, in label order.
        group: all processes.

    Returns:
        The detector on its device, and what was transferred from the detector that `recipe.init_from` names, if any.

    Raises:
        UserError: the initial weights cannot be read or do not fit.
    """
    seed_all(derive_seed(recipe.training.seed, "weights"))
    detector = build_detector(recipe.model)
    source, transfer = recipe.backbone_weights, None
    if recipe.init_from is not None:
        transfer = group.main_first(partial(init_from, detector, recipe.init_from, class_names))
    elif source is not None:
        group.main_first(partial(load_backbone, detector.backbone, source))
    return detector.to(group.device), transfer


def state_digest(module: nn.Module) -> str:
    """Return the SHA-256 of a module's parameters and buffers with their names."""
    digest = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.cpu().contiguous().numpy().tobytes())
    return f"sha256:{digest.hexdigest()}"
