"""Weights in our format: `model.safetensors` with `model.json` beside it.

The JSON says everything that is needed to use the weights: the architecture, the class names in label
order, and how images are prepared. Nothing in either file is executed when they are read.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal, Self

import torch
from pydantic import model_validator
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from codetr.core.errors import UserError
from codetr.core.files import atomic_file, read_json, sha256_file, write_json
from codetr.core.settings import Settings
from codetr.data.config import PreprocessConfig
from codetr.models.config import DetectorConfig
from codetr.models.detector import CoDETR, build_detector
from codetr.weights.keys import KeyReport

WEIGHTS = "model.safetensors"
INFO = "model.json"


class ModelInfo(Settings):
    """What travels with the weights.

    Attributes:
        format: of the folder; a later version of the package may write another.
        recipe: name of the recipe the model was trained with.
        class_names: in label order.
        model: the detector's configuration.
        preprocess: how images are resized and normalised.
    """

    format: Literal[1] = 1
    recipe: str
    class_names: tuple[str, ...]
    model: DetectorConfig
    preprocess: PreprocessConfig

    @model_validator(mode="after")
    def _every_class_has_a_name(self) -> Self:
        if len(self.class_names) != self.model.num_classes:
            raise ValueError(f"class_names has {len(self.class_names)} names for {self.model.num_classes} classes")
        return self


def save_model(folder: Path, state: Mapping[str, torch.Tensor], info: ModelInfo) -> str:
    """Write weights and their description into `folder`; returns the digest of the weights.

    The file holds nothing that changes from run to run, so equal weights have equal digests.
    """
    path = folder / WEIGHTS
    with atomic_file(path) as temporary:
        save_file(_separate(state), temporary)
    write_json(folder / INFO, info.model_dump(mode="json"))
    return sha256_file(path)


def _separate(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Tensors on the CPU of which no two share memory, as the format wants it; only those that do are copied."""
    separate, taken = {}, set()
    for name, tensor in state.items():
        value = tensor.detach().cpu().contiguous()
        storage = value.untyped_storage()
        if storage.data_ptr() in taken or storage.nbytes() != value.nbytes:
            value = value.clone()
        taken.add(value.untyped_storage().data_ptr())
        separate[name] = value
    return separate


def read_info(folder: Path) -> ModelInfo:
    """Read `model.json` of a model folder.

    Raises:
        UserError: the folder holds no model, or its description is not one this version understands.
    """
    path = folder / INFO
    if folder.is_file():
        hint = f"A model is a folder; `codetr convert {folder} --recipe NAME -o FOLDER` makes one of a checkpoint."
        raise UserError("is a file, expected a model folder", where=str(folder), hint=hint)
    if not path.is_file():
        hint = f"A model folder holds {WEIGHTS} and {INFO}; `codetr train` writes one."
        raise UserError(f"holds no {INFO}", where=str(folder), hint=hint)
    values = read_json(path)
    if not isinstance(values, dict):
        raise UserError("is not a model description", where=str(path))
    return ModelInfo.parse(values, where=str(path))


def folder_of(path: Path) -> Path:
    """The model folder that is meant by itself or by the weights file in it."""
    return path.parent if path.name == WEIGHTS else path


def load_model(path: Path, device: torch.device | str = "cpu") -> tuple[CoDETR, ModelInfo]:
    """Load a detector, ready for inference.

    Args:
        path: a model folder, or the weights file in it.
        device: where the model is wanted.

    Raises:
        UserError: missing or damaged files, or weights that do not fit the description (all keys are listed).
    """
    folder = folder_of(path)
    info = read_info(folder)
    file = folder / WEIGHTS
    try:
        state = load_file(file)
    except FileNotFoundError:
        raise UserError("no such file", where=str(file)) from None
    except (SafetensorError, OSError) as error:
        hint = "The file is damaged or incomplete; fetch or train the model again."
        raise UserError(f"cannot be read ({error})", where=str(file), hint=hint) from None
    detector = build_detector(info.model)
    KeyReport.compare(detector.state_dict(), state).require_match(str(file))
    detector.load_state_dict(state)
    return detector.to(device).eval(), info
