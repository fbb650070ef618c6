"""Conversion between official checkpoints and model folders."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from codetr.core.code_version import code_version
from codetr.core.errors import UserError
from codetr.core.files import atomic_directory, atomic_file, sha256_file, write_json
from codetr.core.manifest import Manifest, require_output
from codetr.core.version import __version__
from codetr.weights.keys import meta_detector, non_persistent_buffers
from codetr.weights.model_folder import SUMMARY, ModelInfo, load_model, save_model
from codetr.weights.official.checkpoint_file import OfficialCheckpoint, read_checkpoint
from codetr.weights.official.class_names import ClassNames, resolve_class_names
from codetr.weights.official.identify import OUR_META, ModelConfiguration, count_classes, find_configuration
from codetr.weights.official.key_names import official_name, renamed_weights, to_official


@dataclass(frozen=True)
class KeyConversion:
    """Handling of every key of a checkpoint.

    Attributes:
        converted: official name → our name, for all weights of the detector.
        constants: buffers that follow from the configuration and are computed again.
        averages: `ema_*` copies, which are skipped: the weights themselves are the averages.
        left_out: other content that is skipped, e.g. "optimizer", "meta.env_info".
    """

    converted: dict[str, str]
    constants: tuple[str, ...]
    averages: tuple[str, ...]
    left_out: tuple[str, ...]


@dataclass(frozen=True)
class Conversion:
    """Result of a conversion.

    Attributes:
        info: content of `model.json`.
        configuration: human-readable source of the configuration.
        classes: class names and their source.
        keys: handling of every key of the checkpoint.
    """

    info: ModelInfo
    configuration: str
    classes: ClassNames
    keys: KeyConversion


def convert(
    source: Path,
    output: Path,
    *,
    config_source: Callable[[int], ModelConfiguration] | None = None,
    class_names: Sequence[str] | None = None,
    assignments: Sequence[str] = (),
) -> Conversion:
    """Convert weights under official names to a model folder.

    Args:
        source: a checkpoint of the official code, or a plain state dict, .pth or .safetensors.
        output: the model folder; an earlier one is replaced atomically at the end.
        config_source: returns the configuration for a number of classes; None finds it (`find_configuration`).
        class_names: class names in label order; None uses those of the checkpoint, or COCO's.
        assignments: changes to `model.json`, such as "preprocess.canvas=1280".

    Returns:
        A report, which `summary.json` in the folder contains too.

    Raises:
        UserError: `source` cannot be read, its configuration is not found, weights are missing, unexpected or have
            another shape (all are listed), or `output` contains something else.
    """
    if source.resolve().is_relative_to(output.resolve()):
        raise UserError(
            "is inside the output folder, which is replaced", where=str(source), hint="Choose another output folder."
        )
    require_output(output, "model")
    checkpoint = read_checkpoint(source)
    classes = count_classes(checkpoint.weights, str(source))
    config = config_source(classes) if config_source else find_configuration(checkpoint, str(source))
    names = resolve_class_names(checkpoint.meta, classes, given=class_names)
    info = ModelInfo(recipe=config.recipe, class_names=names.names, model=config.model, preprocess=config.preprocess)
    info = info.override(assignments)
    if not info.model.padding_mask and info.preprocess.canvas is None:
        raise UserError(
            "preprocess.canvas is not set, but the detector needs a fixed canvas (model.padding_mask is false)",
            where=config.origin,
            hint="Set it, for example with --set preprocess.canvas=1280.",
        )
    detector = meta_detector(info.model)
    state = renamed_weights(detector, checkpoint.weights, where=str(source))
    computed = {official_name(name, info.model) for name in non_persistent_buffers(detector)}
    keys = KeyConversion(
        converted={official_name(name, info.model): name for name in state},
        constants=tuple(sorted(computed & checkpoint.weights.keys())),
        averages=checkpoint.averages,
        left_out=_left_out(checkpoint),
    )
    with atomic_directory(output) as folder:
        digest = save_model(folder, state, info)
        summary = {"weights": digest, "configuration": config.origin, "classes": names.origin, "keys": asdict(keys)}
        write_json(folder / SUMMARY, summary)
        Manifest.of(
            folder,
            "model",
            code=code_version(__name__),
            inputs={"checkpoint": sha256_file(source)},
            config={"set": list(assignments)},
            summary={"configuration": config.origin, "classes": names.origin, "keys": len(state)},
        ).write(folder)
    return Conversion(info, config.origin, names, keys)


def _left_out(checkpoint: OfficialCheckpoint) -> tuple[str, ...]:
    meta = (f"meta.{name}" for name in sorted(map(str, checkpoint.meta.keys() - {"CLASSES"})))
    return (*checkpoint.left_out, *meta)


def write_official(model: Path, output: Path) -> list[str]:
    """Write a model as a checkpoint for the official code: `meta` with CLASSES, and `state_dict` in float32.

    Args:
        model: a model folder.
        output: the .pth file; an earlier one of this function is replaced.

    Returns:
        The names of the weights, in order.

    Raises:
        UserError: `model` is not a model folder or is damaged, or `output` is another file.
    """
    if output.exists() and not _was_written_by_us(output):
        hint = "Give another output file."
        raise UserError("exists and was not written by codetr", where=str(output), hint=hint)
    detector, info = load_model(model)
    meta = {"CLASSES": info.class_names, OUR_META: info.model_dump_json(), "codetr_version": __version__}
    weights = {name: value.detach() for name, value in to_official(detector).items()}
    with atomic_file(output) as temporary, temporary.open("wb") as stream:
        # A stream, because PyTorch would store the name of a path in the file.
        torch.save({"meta": meta, "state_dict": weights}, stream)
    return list(weights)


def _was_written_by_us(path: Path) -> bool:
    try:
        return OUR_META in read_checkpoint(path).meta
    except UserError:
        return False
