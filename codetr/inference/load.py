"""Load a model by its folder, its version in a registry, or its recipe."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import torch

from codetr import zoo
from codetr.core.errors import UserError
from codetr.distributed.devices import select_device
from codetr.inference.config import TilesConfig, TTAConfig
from codetr.inference.predictor import Model, Predictor
from codetr.inference.tiling import TiledInference
from codetr.inference.tta import TestTimeAugmentation
from codetr.models.detector import build_detector
from codetr.registry.address import model_folder
from codetr.registry.store import MARKER
from codetr.weights.model_folder import INFO, ModelInfo, load_model


def load(model: str | os.PathLike[str], *, device: str | torch.device = "auto") -> Model:
    """Load a model.

    Args:
        model: one of

            - a model folder, or the weights file in it: `"outputs/model"`, `"outputs/model/model.safetensors"`;
            - a version in a registry, by name, alias or digest: `"outputs/registry@champion"`,
              `"outputs/registry@v3"`;
            - the name of a recipe, as `codetr zoo` lists them: a detector with random weights, useful only for its
              shapes and speed. A warning says so.
        device: "auto" selects a GPU if there is one; or "cpu", "cuda:1", …

    Raises:
        UserError: there is no such model or device, or its files are damaged.
    """
    target_device = select_device(device)
    address = os.fspath(model)
    if address in zoo.ENTRIES and not Path(address).exists():
        return _untrained(address, target_device)
    folder = model_folder(address)
    if not folder.exists():
        hint = "A model is a folder that `codetr train` wrote, REGISTRY@VERSION, or a recipe of `codetr zoo`."
        raise UserError("there is no such model", where=address, hint=hint)
    if (folder / MARKER).is_file() and not (folder / INFO).exists():
        raise UserError("is a registry, not a model", where=address, hint=f"Name a version: {address}@champion.")
    return Model(*load_model(folder, target_device))


def build_predictor(model: Predictor, tta: TTAConfig | None, tiles: TilesConfig | None) -> Predictor:
    """Return a model with the configured wrappers; with both, every tile is augmented."""
    if tta is not None:
        model = TestTimeAugmentation(model, scales=tta.scales, flip=tta.flip)
    if tiles is not None:
        model = TiledInference(model, tile=tiles.size, overlap=tiles.overlap, batch_size=tiles.batch_size)
    return model


def _untrained(name: str, device: torch.device) -> Model:
    warnings.warn(
        f"'{name}' is a recipe: its detector has random weights, and its detections are meaningless", stacklevel=3
    )
    recipe = zoo.recipe(name)
    classes = tuple(f"class {label}" for label in range(recipe.model.num_classes))
    info = ModelInfo(recipe=name, class_names=classes, model=recipe.model, preprocess=recipe.preprocess)
    return Model(build_detector(recipe.model).to(device), info)
