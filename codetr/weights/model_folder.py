"""Model folders: `model.safetensors`, the weights, and `model.json`, their description.

The description has everything that is needed to use the weights: the architecture, the class names in label order and
the preprocessing. Neither file can execute code when it is read.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal, Self

import torch
from pydantic import model_validator
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from codetr.core.errors import UserError
from codetr.core.files import atomic_file, read_json, sha256_file, write_json
from codetr.core.manifest import NAME as MANIFEST
from codetr.core.manifest import Manifest
from codetr.core.settings import Settings
from codetr.core.system.os_errors import underlying_error, unreadable
from codetr.data.config import FULL_RANGE, PreprocessConfig, Range16Bit
from codetr.models.config import DetectorConfig
from codetr.models.detector import CoDETR, build_detector
from codetr.weights.digest_cache import cached_digest
from codetr.weights.foreign_file import require_finite
from codetr.weights.keys import KeyReport, meta_detector

WEIGHTS = "model.safetensors"
INFO = "model.json"
SUMMARY = "summary.json"
"""How the weights were made: by training, or from an official checkpoint. Only for people and reports."""

_CHANGED = "The file changed after it was written: train, convert or download the model again."


class ModelInfo(Settings):
    """Description of the weights, the content of `model.json`.

    Attributes:
        format: version of the folder's format.
        recipe: name of the recipe that the model was trained with.
        class_names: class names in label order.
        model: configuration of the detector.
        preprocess: resizing and normalisation of images.
        range_16bit: values of 16-bit grey images that become black and white, as in the dataset it was trained on.
    """

    format: Literal[1] = 1
    recipe: str
    class_names: tuple[str, ...]
    model: DetectorConfig
    preprocess: PreprocessConfig
    range_16bit: Range16Bit = FULL_RANGE

    @model_validator(mode="after")
    def _every_class_has_a_name(self) -> Self:
        if len(self.class_names) != self.model.num_classes:
            raise ValueError(
                f"class_names has {len(self.class_names)} names, but the model has {self.model.num_classes} classes"
            )
        return self


def save_model(folder: Path, state: Mapping[str, torch.Tensor], info: ModelInfo) -> str:
    """Write weights and their description into `folder`, and return the digest of the weights file.

    The file contains nothing else, such as times, so equal weights have equal digests.
    """
    path = folder / WEIGHTS
    with atomic_file(path) as temporary:
        save_file(_separate(state), temporary)
    write_json(folder / INFO, info.model_dump(mode="json"))
    return sha256_file(path)


def _separate(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return tensors on the CPU that do not share memory, as safetensors requires; only shared ones are copied."""
    separate: dict[str, torch.Tensor] = {}
    taken: set[int] = set()
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
        UserError: the folder contains no model, or this version cannot parse its description.
    """
    path = folder / INFO
    if folder.is_file():
        hint = f"Convert a checkpoint to a model folder: `codetr convert {folder} --recipe NAME -o FOLDER`."
        raise UserError("is a file, expected a model folder", where=str(folder), hint=hint)
    if not path.is_file():
        hint = f"Give a model folder, with {WEIGHTS} and {INFO}, as `codetr train` writes."
        raise UserError(f"holds no {INFO}", where=str(folder), hint=hint)
    values = read_json(path)
    if not isinstance(values, dict):
        raise UserError("is not a model description: expected a JSON object", where=str(path))
    return ModelInfo.parse(values, where=str(path))


def folder_of(path: Path) -> Path:
    """Return the model folder of a path that is the folder or the weights file in it."""
    return path.parent if path.name == WEIGHTS else path


def load_model(path: Path, device: torch.device | str = "cpu") -> tuple[CoDETR, ModelInfo]:
    """Load a detector in evaluation mode.

    Args:
        path: a model folder, or the weights file in it.
        device: device of the detector.

    Raises:
        UserError: files are missing, damaged or differ from the manifest, weights do not match the description (all
            keys are listed), or they are not numbers.
    """
    folder = folder_of(path)
    info = read_info(folder)
    file = folder / WEIGHTS
    if not file.is_file():
        raise UserError("no such file", where=str(file))
    verify_files(folder)
    try:
        # A wrong description must not ask for memory: shapes are compared before tensors are made.
        KeyReport.compare(meta_detector(info.model).state_dict(), _stored_shapes(file)).require_match(str(file))
        state = load_file(file)
    except (SafetensorError, OSError) as error:
        hint = "The file is damaged or incomplete: download or train the model again."
        if isinstance(cause := underlying_error(error), OSError):
            raise unreadable(cause, file, hint=hint) from None
        raise UserError(f"cannot be read ({error})", where=str(file), hint=hint) from None
    require_finite(state, str(file))
    detector = build_detector(info.model)
    detector.load_state_dict(state)
    return detector.to(device).eval(), info


def verify_files(folder: Path) -> None:
    """Compare weights and description of a model with its manifest, if it has one.

    The digest of an unchanged file is computed once, see `cached_digest`.

    Raises:
        UserError: a file differs from the manifest, or the manifest does not list it.
    """
    if not (folder / MANIFEST).is_file():
        return
    files = Manifest.read(folder, "model").files
    for name in (WEIGHTS, INFO):
        if name not in files:
            raise UserError(f"does not list {name}", where=str(folder / MANIFEST), hint=_CHANGED)
        if cached_digest(folder / name) != files[name]:
            raise UserError("differs from the digest in the manifest", where=str(folder / name), hint=_CHANGED)


def _stored_shapes(file: Path) -> dict[str, torch.Tensor]:
    """Return the tensors of a file on PyTorch's meta device: names and shapes without values or memory."""
    with safe_open(file, framework="pt") as stored:
        return {name: torch.empty(stored.get_slice(name).get_shape(), device="meta") for name in stored.keys()}  # noqa: SIM118
