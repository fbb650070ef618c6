"""Starting a detector from another one's weights, whose classes may be others: fine-tuning."""

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
from codetr.models.detector import CoDETR
from codetr.weights.class_names import resolve_class_names
from codetr.weights.class_rows import ClassRows, class_rows
from codetr.weights.keys import KeyReport, meta_detector
from codetr.weights.model_folder import INFO, WEIGHTS, folder_of, read_info
from codetr.weights.official.checkpoint_file import read_checkpoint
from codetr.weights.official.identify import count_classes
from codetr.weights.official.key_names import renamed_weights

_OURS = "query_head.predictors.classifiers.0.weight"


@dataclass(frozen=True)
class TransferReport:
    """What a detector took over.

    Attributes:
        kept: how many parameters and buffers were taken over whole.
        by_class: those that have rows for classes; the rows of matched classes, and those of no class, were taken over.
        matched: classes with the same name on both sides.
        reinitialised: classes of the detector whose rows are those of a new detector.
        dropped: classes that the detector does not have.
        names: where the names of the weights' classes are from.
    """

    kept: int
    by_class: tuple[str, ...]
    matched: tuple[str, ...]
    reinitialised: tuple[str, ...]
    dropped: tuple[str, ...]
    names: str

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    def lines(self) -> list[str]:
        """For people."""

        def some(names: Sequence[str], shown: int = 20) -> str:
            return f"{len(names)} ({listed(names, shown)})" if names else "none"

        return [
            f"kept whole: {self.kept} tensors",
            f"kept by class: {some(self.by_class, 3)}",
            f"classes kept, matched by name: {some(self.matched)}",
            f"classes re-initialised: {some(self.reinitialised)}",
            f"classes dropped: {some(self.dropped)}; names are from {self.names}",
        ]


def init_from(detector: CoDETR, source: str, class_names: Sequence[str]) -> TransferReport:
    """Give a newly initialised detector the weights of another with the same architecture, in place.

    Rows of classes that both have, by name, are taken over; rows of the others stay as they are.

    Args:
        detector: where they go.
        source: a model folder, its weights file, or a file of official weights (`read_checkpoint`).
        class_names: of the detector, in label order.

    Raises:
        UserError: there is nothing there that can be read, or keys or shapes do not fit for another reason than the
            number of classes; all are named, and nothing has been changed then.
    """
    state, names, origin = _read(detector, Path(source))
    own = detector.state_dict()
    rows = class_rows(detector.config)
    labels = {name: label for label, name in reversed(list(enumerate(names)))}
    pairs = [(label, labels[name]) for label, name in enumerate(class_names) if name in labels]
    with torch.no_grad():
        for name, value in own.items():
            if name in rows:
                _copy_rows(value, state[name], rows[name], pairs)
            else:
                value.copy_(state[name])
        _keep_objectness(detector, state)
    matched = {class_names[label] for label, _ in pairs}
    return TransferReport(
        kept=len(own) - len(rows),
        by_class=tuple(rows),
        matched=tuple(name for name in class_names if name in matched),
        reinitialised=tuple(name for name in class_names if name not in matched),
        dropped=tuple(name for name in names if name not in matched),
        names=origin,
    )


def source_model_folder(source: str) -> Path | None:
    """The folder of the model that `source` names, if it is one that a step wrote."""
    path = Path(source)
    folder = folder_of(path)
    return folder if (folder / NAME).is_file() else None


def source_digest(source: str) -> str:
    """What identifies the weights: the digest of a model's manifest, else of the file.

    Raises:
        UserError: there is nothing there, or a model's files are not those of its manifest.
    """
    path = Path(source)
    if folder := source_model_folder(source):
        return Manifest.read(folder, "model", verify=True).digest
    file = path / WEIGHTS if path.is_dir() else path
    if not file.is_file():
        hint = "Give a model folder or a file of weights."
        raise UserError("there is no such file or model", where=f"init_from: {source}", hint=hint)
    return sha256_file(file)


def _read(detector: CoDETR, path: Path) -> tuple[dict[str, Tensor], Sequence[str], str]:
    """Weights under our names, with the shapes of such a detector for their own classes; those classes, and whence."""
    folder = path if path.is_dir() else path.parent
    file = folder / WEIGHTS if path.is_dir() else path
    info = read_info(folder) if path.is_dir() or (path.name == WEIGHTS and (folder / INFO).is_file()) else None
    checkpoint = read_checkpoint(file)
    weights = checkpoint.weights
    classifier = weights.get(_OURS)
    classes = len(classifier) if classifier is not None else count_classes(weights, str(file))
    if info is not None and info.model.num_classes != classes:
        problem = f"has weights for {classes} classes, and {info.model.num_classes} in {INFO}"
        raise UserError(problem, where=str(folder))
    expected = meta_detector(detector.config.with_classes(classes))
    if classifier is None:
        weights = renamed_weights(expected, weights, where=str(file))
    KeyReport.compare(expected.state_dict(), weights).require_match(str(file))
    if info is not None:
        return weights, info.class_names, "the model"
    found = resolve_class_names(checkpoint, classes)
    # Numbers are no names: "class 3" of one set has nothing to do with "class 3" of another.
    return weights, found.names if found.known else (), found.origin


def _copy_rows(own: Tensor, given: Tensor, rows: ClassRows, pairs: Sequence[tuple[int, int]]) -> None:
    of_classes, others = rows.split(own)
    given_classes, given_others = rows.split(given)
    for label, given_label in pairs:
        of_classes[label] = given_classes[given_label]
    others.copy_(given_others)


def _keep_objectness(detector: CoDETR, state: dict[str, Tensor]) -> None:
    """Keep what Co-Deformable-DETR selects queries by: the first row of its proposals' classifier is no class's."""
    if detector.config.kind == "co_deformable":
        last = detector.config.query.transformer.decoder_layers
        classifier = detector.get_submodule(f"query_head.predictors.classifiers.{last}")
        for name, value in classifier.named_parameters():
            value[0] = state[f"query_head.predictors.classifiers.{last}.{name}"][0]
