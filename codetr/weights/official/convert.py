"""Models from the official implementation's files to our folders, and back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from codetr.core.errors import UserError
from codetr.core.files import atomic_directory, atomic_file, sha256_file, write_json
from codetr.core.manifest import Manifest, require_output
from codetr.core.version import __version__
from codetr.weights.class_names import ClassNames, resolve_class_names
from codetr.weights.keys import meta_detector, non_persistent_buffers
from codetr.weights.model_folder import ModelInfo, load_model, save_model
from codetr.weights.official.checkpoint_file import OfficialCheckpoint, read_checkpoint
from codetr.weights.official.identify import OUR_META, ModelConfiguration, count_classes, find_configuration
from codetr.weights.official.key_names import official_name, renamed_weights, to_official

SUMMARY = "summary.json"


@dataclass(frozen=True)
class KeyAccount:
    """What became of everything in a checkpoint, name by name.

    Attributes:
        converted: official name → ours; all of the detector's weights.
        constants: what follows from the configuration and is computed anew.
        averages: `ema_*` copies; the weights proper are the averages already.
        left_out: everything that is no weight, e.g. "optimizer", "meta.env_info".
    """

    converted: dict[str, str]
    constants: tuple[str, ...]
    averages: tuple[str, ...]
    left_out: tuple[str, ...]


@dataclass(frozen=True)
class Conversion:
    """A model that was converted.

    Attributes:
        info: what its `model.json` holds.
        configuration: where its configuration is from, for people.
        classes: its class names and where they are from.
        keys: what became of the checkpoint's content.
    """

    info: ModelInfo
    configuration: str
    classes: ClassNames
    keys: KeyAccount


def convert(
    source: Path,
    output: Path,
    *,
    told: Callable[[int], ModelConfiguration] | None = None,
    class_names: Sequence[str] | None = None,
    assignments: Sequence[str] = (),
) -> Conversion:
    """Write the model folder of weights under official names.

    Args:
        source: a checkpoint of the official code, or a plain state dict, .pth or .safetensors.
        output: the model folder; an earlier one is replaced as a whole at the end.
        told: makes the configuration for a number of classes; None finds it (`find_configuration`).
        class_names: in label order; None takes those the checkpoint holds, or COCO's.
        assignments: changes of what goes into `model.json`, such as "preprocess.canvas=1280".

    Returns:
        What was converted and how. `summary.json` in the folder has it too, with every key.

    Raises:
        UserError: `source` cannot be read, its configuration is not found, weights are missing, unexpected or of the
            wrong shape (all are named), or `output` holds something else.
    """
    if source.resolve().is_relative_to(output.resolve()):
        raise UserError("lies in the output folder, which is replaced", where=str(source))
    require_output(output, "model")
    checkpoint = read_checkpoint(source)
    classes = count_classes(checkpoint.weights, str(source))
    found = told(classes) if told else find_configuration(checkpoint, str(source))
    names = resolve_class_names(checkpoint, classes, told=class_names)
    info = ModelInfo(recipe=found.recipe, class_names=names.names, model=found.model, preprocess=found.preprocess)
    info = info.override(assignments)
    if not info.model.padding_mask and info.preprocess.canvas is None:
        raise UserError(
            "the detector works on one fixed canvas, and nothing says how large it is",
            where=found.origin,
            hint="Say it, for example with --set preprocess.canvas=1280.",
        )
    detector = meta_detector(info.model)
    state = renamed_weights(detector, checkpoint.weights, where=str(source))
    computed = {official_name(name, info.model) for name in non_persistent_buffers(detector)}
    keys = KeyAccount(
        converted={official_name(name, info.model): name for name in state},
        constants=tuple(sorted(computed & checkpoint.weights.keys())),
        averages=checkpoint.averages,
        left_out=_left_out(checkpoint),
    )
    with atomic_directory(output) as folder:
        digest = save_model(folder, state, info)
        summary = {"weights": digest, "configuration": found.origin, "classes": names.origin, "keys": asdict(keys)}
        write_json(folder / SUMMARY, summary)
        Manifest.of(
            folder,
            "model",
            inputs={"checkpoint": sha256_file(source)},
            config={"set": list(assignments)},
            summary={"configuration": found.origin, "classes": names.origin, "keys": len(state)},
        ).write(folder)
    return Conversion(info, found.origin, names, keys)


def _left_out(checkpoint: OfficialCheckpoint) -> tuple[str, ...]:
    notes = (f"meta.{name}" for name in sorted(map(str, checkpoint.meta.keys() - {"CLASSES"})))
    return (*checkpoint.left_out, *notes)


def write_official(model: Path, output: Path) -> list[str]:
    """Write a model as a checkpoint that the official code loads: `meta` with CLASSES, and `state_dict` in float32.

    Args:
        model: a model folder.
        output: the .pth file; one that this function wrote before is replaced.

    Returns:
        The names of the weights, in order.

    Raises:
        UserError: `model` is no model folder or damaged, or `output` is something else.
    """
    if output.exists() and not _is_earlier(output):
        hint = "Give another output file."
        raise UserError("exists and was not written by codetr: it is not replaced", where=str(output), hint=hint)
    detector, info = load_model(model)
    meta = {"CLASSES": info.class_names, OUR_META: info.model_dump_json(), "codetr_version": __version__}
    weights = {name: value.detach() for name, value in to_official(detector).items()}
    with atomic_file(output) as temporary, temporary.open("wb") as stream:
        # Through a stream, because PyTorch would write the name of a file into it.
        torch.save({"meta": meta, "state_dict": weights}, stream)
    return list(weights)


def _is_earlier(path: Path) -> bool:
    try:
        return OUR_META in read_checkpoint(path).meta
    except UserError:
        return False
