"""Fine-tuning: initialise a detector with the weights of another, which may have other classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from codetr.core.errors import UserError, listed
from codetr.core.files import sha256_file
from codetr.core.manifest import NAME, Manifest
from codetr.core.text import counted
from codetr.models.detector import CoDETR
from codetr.weights.class_rows import ClassRows, class_rows
from codetr.weights.foreign_file import require_finite
from codetr.weights.keys import KeyReport, meta_detector
from codetr.weights.model_folder import INFO, WEIGHTS, folder_of, read_info
from codetr.weights.official.checkpoint_file import read_checkpoint
from codetr.weights.official.class_names import resolve_class_names
from codetr.weights.official.identify import count_classes
from codetr.weights.official.key_names import renamed_weights

_CLASSIFIER_KEY = "query_head.predictors.classifiers.0.weight"


@dataclass(frozen=True)
class TransferReport:
    """Weights that were transferred to a detector.

    Attributes:
        kept: number of parameters and buffers that were copied completely.
        by_class: names of those with rows for classes; rows of matched classes and of no class were copied.
        matched: classes with the same name in both detectors.
        reinitialised: classes of the detector whose rows keep their initial values.
        dropped: classes of the source that the detector does not have.
        names: human-readable source of the class names of the weights.
    """

    kept: int
    by_class: tuple[str, ...]
    matched: tuple[str, ...]
    reinitialised: tuple[str, ...]
    dropped: tuple[str, ...]
    names: str

    def to_json(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    def lines(self) -> list[str]:
        """Return the report as lines of text."""

        def counted_list(names: Sequence[str], shown: int = 20) -> str:
            return f"{len(names)} ({listed(names, shown)})" if names else "none"

        return [
            f"copied completely: {counted(self.kept, 'tensor')}",
            f"copied by class: {counted_list(self.by_class, 3)}",
            f"classes copied, matched by name: {counted_list(self.matched)}",
            f"classes re-initialised: {counted_list(self.reinitialised)}",
            f"classes dropped: {counted_list(self.dropped)}; source of the names: {self.names}",
        ]


def init_from(detector: CoDETR, source: str, class_names: Sequence[str]) -> TransferReport:
    """Initialise a detector, in place, with the weights of another one with the same architecture.

    Rows of classes that both have, matched by name, are copied; rows of the other classes keep their values.

    Args:
        detector: a newly initialised detector.
        source: a model folder, its weights file, or a file of official weights (`read_checkpoint`).
        class_names: class names of the detector, in label order.

    Raises:
        UserError: the source cannot be read, or keys or shapes differ by more than the number of classes; all of them
            are listed, and the detector is unchanged.
    """
    source_state, names, origin = _read(detector, Path(source))
    state = detector.state_dict()
    rows = class_rows(detector.config)
    labels = {name: label for label, name in reversed(list(enumerate(names)))}
    pairs = [(label, labels[name]) for label, name in enumerate(class_names) if name in labels]
    with torch.no_grad():
        for name, value in state.items():
            if name in rows:
                _copy_rows(value, source_state[name], rows[name], pairs)
            else:
                value.copy_(source_state[name])
        _copy_objectness(detector, source_state)
    matched = {class_names[label] for label, _ in pairs}
    return TransferReport(
        kept=len(state) - len(rows),
        by_class=tuple(rows),
        matched=tuple(name for name in class_names if name in matched),
        reinitialised=tuple(name for name in class_names if name not in matched),
        dropped=tuple(name for name in names if name not in matched),
        names=origin,
    )


def source_model_folder(source: str) -> Path | None:
    """Return the model folder that `source` names, None if it is not one that a step wrote."""
    path = Path(source)
    folder = folder_of(path)
    return folder if (folder / NAME).is_file() else None


def source_digest(source: str) -> str:
    """Return the digest of a model's manifest, or that of the file if `source` is not a model folder.

    Raises:
        UserError: the source does not exist, or the files of a model differ from its manifest.
    """
    path = Path(source)
    if folder := source_model_folder(source):
        return Manifest.read(folder, "model", verify=True).digest
    file = path / WEIGHTS if path.is_dir() else path
    if not file.is_file():
        hint = "Give a model folder or a file of weights."
        raise UserError("there is no such file or model folder", where=f"init_from: {source}", hint=hint)
    return sha256_file(file)


def _read(detector: CoDETR, path: Path) -> tuple[dict[str, Tensor], Sequence[str], str]:
    """Return weights with our key names and their number of classes, their class names, and the source of the names."""
    folder = path if path.is_dir() else path.parent
    file = folder / WEIGHTS if path.is_dir() else path
    info = read_info(folder) if path.is_dir() or (path.name == WEIGHTS and (folder / INFO).is_file()) else None
    checkpoint = read_checkpoint(file)
    weights = checkpoint.weights
    classifier = weights.get(_CLASSIFIER_KEY)
    classes = len(classifier) if classifier is not None else count_classes(weights, str(file))
    if info is not None and info.model.num_classes != classes:
        problem = f"has weights for {classes} classes, but {info.model.num_classes} in {INFO}"
        raise UserError(problem, where=str(folder))
    expected = meta_detector(detector.config.with_classes(classes))
    if classifier is None:
        weights = renamed_weights(expected, weights, where=str(file))
    KeyReport.compare(expected.state_dict(), weights).require_match(str(file))
    require_finite(weights, str(file))
    if info is not None:
        return weights, info.class_names, "the model"
    resolved = resolve_class_names(checkpoint.meta, classes)
    # Numbers must not match: "class 3" of one dataset is unrelated to "class 3" of another.
    return weights, resolved.names if resolved.known else (), resolved.origin


def _copy_rows(target: Tensor, source: Tensor, rows: ClassRows, pairs: Sequence[tuple[int, int]]) -> None:
    target_classes, target_rest = rows.split(target)
    source_classes, source_rest = rows.split(source)
    for label, source_label in pairs:
        target_classes[label] = source_classes[source_label]
    target_rest.copy_(source_rest)


def _copy_objectness(detector: CoDETR, source_state: dict[str, Tensor]) -> None:
    """Copy the first row of the proposals' classifier, by which Co-Deformable-DETR selects queries of all classes."""
    if detector.config.kind == "co_deformable":
        last = detector.config.query.transformer.decoder_layers
        classifier = detector.get_submodule(f"query_head.predictors.classifiers.{last}")
        for name, value in classifier.named_parameters():
            value[0] = source_state[f"query_head.predictors.classifiers.{last}.{name}"][0]
