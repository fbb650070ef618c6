"""The four steps as Python functions: the names, options and defaults of the commands.

They call the same steps as the commands. Errors are exceptions (`UserError`, `RunFailed`, `RunStopped`), those of the
operating system too, and progress goes to standard error and to the logger "codetr".
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from inspect import signature
from pathlib import Path
from typing import Any, ParamSpec, TypeAlias, TypeVar

from codetr.core.errors import RunStopped, UserError, did_you_mean
from codetr.core.files import read_json
from codetr.core.settings import Settings, dotted_paths
from codetr.core.system.os_errors import reported_os_error
from codetr.data.config import SourceConfig
from codetr.data.ingest.config import PrepareConfig
from codetr.data.ingest.summary import DatasetReport, read_report
from codetr.distributed.processes import selected_device
from codetr.distributed.signals import PreemptedError
from codetr.evaluation.config import EvaluateConfig
from codetr.evaluation.evaluate import METRICS
from codetr.evaluation.report.writer import REPORT
from codetr.inference.load import load
from codetr.inference.predictor import Model
from codetr.registry.address import model_folder
from codetr.steps import evaluate as evaluate_step
from codetr.steps import prepare as prepare_step
from codetr.steps import register as register_step
from codetr.steps import train as train_step
from codetr.steps.settings import chosen_recipe, read_recipe, step_settings
from codetr.steps.sources import sources_by_split
from codetr.steps.store import chosen_store
from codetr.training.randomness import preserved_globals
from codetr.weights.model_folder import SUMMARY
from codetr.zoo.recipe import Recipe

StrPath: TypeAlias = str | os.PathLike[str]
Changes: TypeAlias = Mapping[str, Any] | None
"""Settings by dotted path, as `{"training.epochs": 24}`."""


@dataclass(frozen=True, repr=False)
class FolderResult:
    """A folder that a step wrote; it is accepted where a path is.

    Attributes:
        folder: the folder.
        summary: the main figures, by name.
        digest: identifies the content of the folder.
    """

    folder: Path
    summary: Mapping[str, Any]
    digest: str

    def __fspath__(self) -> str:
        return os.fspath(self.folder)

    def __repr__(self) -> str:
        values = "".join(f", {name} {value}" for name, value in self._main_values().items())
        return f"{type(self).__name__}('{self.folder}'{values})"

    def _main_values(self) -> dict[str, Any]:
        """Return what is shown of the result beside its folder."""
        return {}


@dataclass(frozen=True, repr=False)
class PrepareResult(FolderResult):
    """A prepared dataset.

    Attributes:
        report: statistics of splits and classes, and every finding.
    """

    report: DatasetReport

    def _main_values(self) -> dict[str, Any]:
        return {"images": {name: split.images for name, split in self.report.splits.items()}}


@dataclass(frozen=True, repr=False)
class TrainResult(FolderResult):
    """A trained model.

    Attributes:
        metrics: of the published weights on the split val; empty without validation.
    """

    metrics: Mapping[str, float | int | None]

    def _main_values(self) -> dict[str, Any]:
        return _rounded(self.metrics)

    def load(self, *, device: str = "auto") -> Model:
        """Load the model, see `codetr.load`."""
        return load(self.folder, device=device)


@dataclass(frozen=True, repr=False)
class EvaluateResult(FolderResult):
    """An evaluation.

    Attributes:
        metrics: COCO or LVIS metrics by name; None where a metric is undefined.
        report: the HTML report.
    """

    metrics: Mapping[str, float | int | None]
    report: Path

    def _main_values(self) -> dict[str, Any]:
        return _rounded(self.metrics)


@dataclass(frozen=True, repr=False)
class RegisterResult(FolderResult):
    """A registered version.

    Attributes:
        version: its name, e.g. "v3".
        promoted: whether it has become champion.
        reasons: why it was promoted or not.
    """

    version: str
    promoted: bool
    reasons: str

    def _main_values(self) -> dict[str, Any]:
        return {"version": self.version, "promoted": self.promoted}


def _rounded(metrics: Mapping[str, float | int | None]) -> dict[str, Any]:
    return {name: round(value, 4) for name in ("AP", "AP50") if (value := metrics.get(name)) is not None}


P = ParamSpec("P")
R = TypeVar("R")


def _unknown_arguments_explained(settings: Callable[[], Settings]) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Let the `TypeError` for an unknown argument name the setting that is meant, as `set={"training.epochs": 1}`."""

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        known = signature(function).parameters

        @wraps(function)
        def call(*arguments: P.args, **named: P.kwargs) -> R:
            for name, value in named.items():
                if name not in known:
                    paths = dotted_paths(settings().model_dump(mode="python"))
                    meant = [path for path in paths if path.rpartition(".")[2] == name]
                    hint = f'set={{"{meant[0]}": {value!r}}}' if meant else did_you_mean(name, known).strip()
                    raise TypeError(f"{function.__name__}() has no argument '{name}'. {hint}".strip())
            return function(*arguments, **named)

        return call

    return decorate


@contextmanager
def _os_errors_reported() -> Iterator[None]:
    """Raise errors of the operating system as the commands report them: as `UserError` or `RunFailed`."""
    try:
        yield
    except OSError as error:
        reported = reported_os_error(error)
        if reported is None:
            raise
        raise reported from error


@_unknown_arguments_explained(lambda: PrepareConfig(train=(SourceConfig(annotations="train.json"),)))
@_os_errors_reported()
def prepare(
    output: StrPath,
    *,
    train: StrPath | Sequence[StrPath] | None = None,
    val: StrPath | Sequence[StrPath] | None = None,
    test: StrPath | Sequence[StrPath] | None = None,
    images: StrPath | None = None,
    train_images: StrPath | Sequence[StrPath] | None = None,
    val_images: StrPath | Sequence[StrPath] | None = None,
    test_images: StrPath | Sequence[StrPath] | None = None,
    repo: StrPath | None = None,
    rev: str | None = None,
    link_targets: StrPath | Sequence[StrPath] | None = None,
    boxes: str | None = None,
    train_boxes: str | Sequence[str] | None = None,
    val_boxes: str | Sequence[str] | None = None,
    test_boxes: str | Sequence[str] | None = None,
    overwrite: bool = False,
    store: StrPath | None = None,
    fresh: bool = False,
    params: StrPath | None = None,
    set: Changes = None,
) -> PrepareResult:
    """Check and index annotations and images, as `codetr prepare`.

    Args:
        output: the dataset folder to write.
        train: annotations to train on: a COCO file, a VOC folder, a YOLO data.yaml, or several of them.
        val: annotations to evaluate on; None draws them from the training set unless that lists some.
        test: annotations of a test split.
        images: where the images are, for all splits.
        train_images: where those of the training split are: one for all sources, or one each.
        val_images: the same for the validation split.
        test_images: the same for the test split.
        repo: a DVC repository that holds all these files.
        rev: a revision of that repository.
        link_targets: folders to which symbolic links may lead.
        boxes: how the boxes of the COCO files of all splits are written, e.g. "xyxy"; None for x, y, width, height in
            pixels.
        train_boxes: how those of the training split are written: one format for all sources, or one each.
        val_boxes: the same for the validation split.
        test_boxes: the same for the test split.
        overwrite: replace a dataset of other training annotations in `output`.
        store: look for the result in this store before, and store it after: a folder or s3://BUCKET/PREFIX; None for
            that of the environment variable CODETR_STORE, "" for none.
        fresh: compute the result even if the store has it.
        params: a YAML file whose section `prepare` has settings.
        set: further settings by dotted path.

    Raises:
        UserError: see `codetr.steps.prepare.prepare`.
        RunFailed: the disk is full, a server is away, or the like.
    """
    splits = sources_by_split(
        train=_paths(train),
        val=_paths(val),
        test=_paths(test),
        images=_path(images),
        train_images=_paths(train_images),
        val_images=_paths(val_images),
        test_images=_paths(test_images),
        repo=_path(repo),
        rev=rev,
        link_targets=_paths(link_targets),
        boxes=boxes,
        train_boxes=_paths(train_boxes),
        val_boxes=_paths(val_boxes),
        test_boxes=_paths(test_boxes),
    )
    if not splits and params is None:
        raise UserError("no annotations are given", hint="Give train and its images, or params.")
    config = step_settings(PrepareConfig, "prepare", _optional(params), None, splits).changed(_items(set), where="set")
    folder = Path(output)
    manifest = prepare_step.prepare(config, folder, overwrite=overwrite, store=chosen_store(_path(store)), fresh=fresh)
    return PrepareResult(folder, manifest.summary, manifest.digest, read_report(folder))


@_unknown_arguments_explained(lambda: read_recipe("tiny"))
@_os_errors_reported()
def train(
    dataset: StrPath,
    output: StrPath,
    *,
    recipe: str | Recipe | None = None,
    checkpoints: StrPath | None = None,
    overwrite: bool = False,
    extend: bool = False,
    device: str = "auto",
    store: StrPath | None = None,
    fresh: bool = False,
    params: StrPath | None = None,
    set: Changes = None,
) -> TrainResult:
    """Train a detector, as `codetr train`; an interrupted run is resumed by the same call.

    In a program that torchrun started, every process calls it with the same arguments.

    Args:
        dataset: folder written by `prepare`, or its result.
        output: folder for the model.
        recipe: the name of a recipe, a YAML file, or a recipe; None takes that of `params`.
        checkpoints: folder of checkpoints; None for the output with the suffix .checkpoints.
        overwrite: replace the model of another run in `output`, and discard another run in `checkpoints`.
        extend: continue a run that has finished with more epochs.
        device: "auto", "cpu", "cuda", "cuda:1", "mps".
        store: look for the result in this store before, and store it after: a folder or s3://BUCKET/PREFIX; None for
            that of the environment variable CODETR_STORE, "" for none.
        fresh: compute the result even if the store has it.
        params: a YAML file whose section `train` names a recipe and changes.
        set: settings of the recipe by dotted path, e.g. `{"training.epochs": 24}`.

    Raises:
        UserError, RunFailed: see `codetr.steps.train.train`.
        RunStopped: SIGTERM or Ctrl-C was received, and a checkpoint saved.
    """
    chosen = chosen_recipe(recipe, _optional(params), None).changed(_items(set), where="set")
    folder = Path(output)
    try:
        with preserved_globals(selected_device(device)):
            manifest = train_step.train(
                train_step.TrainConfig(recipe=chosen),
                Path(dataset),
                folder,
                _optional(checkpoints),
                overwrite=overwrite,
                extend=extend,
                device=device,
                store=chosen_store(_path(store)),
                fresh=fresh,
            )
    except PreemptedError:
        hint = "Call it again with the same arguments to resume."
        raise RunStopped("was asked to stop, and has saved a checkpoint", where=str(folder), hint=hint) from None
    metrics = read_json(folder / SUMMARY)["validation"]
    return TrainResult(folder, manifest.summary, manifest.digest, metrics)


@_unknown_arguments_explained(EvaluateConfig)
@_os_errors_reported()
def evaluate(
    model: StrPath,
    dataset: StrPath,
    output: StrPath,
    *,
    registry: StrPath | None = None,
    device: str = "auto",
    store: StrPath | None = None,
    fresh: bool = False,
    params: StrPath | None = None,
    set: Changes = None,
) -> EvaluateResult:
    """Evaluate a model on a split of a dataset, as `codetr evaluate`.

    In a program that torchrun started, every process calls it with the same arguments.

    Args:
        model: a model folder, the result of `train`, or REGISTRY@VERSION.
        dataset: folder written by `prepare`, or its result.
        output: folder for the evaluation.
        registry: compare the model with the champion of this registry, if there is one, in the report.
        device: "auto", "cpu", "cuda", "cuda:1", "mps".
        store: look for the result in this store before, and store it after: a folder or s3://BUCKET/PREFIX; None for
            that of the environment variable CODETR_STORE, "" for none.
        fresh: compute the result even if the store has it.
        params: a YAML file whose section `evaluate` has settings.
        set: further settings by dotted path, e.g. `{"split": "test", "batch_size": 4}`.

    Raises:
        UserError, RunFailed: see `codetr.steps.evaluate.evaluate`.
    """
    config = step_settings(EvaluateConfig, "evaluate", _optional(params), None).changed(_items(set), where="set")
    folder = Path(output)
    given = (model_folder(os.fspath(model)), Path(dataset), folder, _optional(registry))
    with preserved_globals(selected_device(device)):
        manifest = evaluate_step.evaluate(config, *given, device=device, store=chosen_store(_path(store)), fresh=fresh)
    metrics = read_json(folder / METRICS)
    return EvaluateResult(folder, manifest.summary, manifest.digest, metrics, folder / REPORT)


@_os_errors_reported()
def register(
    model: StrPath,
    evaluation: StrPath,
    registry: StrPath,
    output: StrPath,
    *,
    params: StrPath | None = None,
    set: Changes = None,
) -> RegisterResult:
    """Register a model version and promote it to champion if the gate passes, as `codetr register`.

    Args:
        model: a model folder, the result of `train`, or REGISTRY@VERSION.
        evaluation: its evaluation: a folder, or the result of `evaluate`.
        registry: the registry's folder.
        output: folder for the registration.
        params: a YAML file whose section `register` has settings.
        set: further settings by dotted path, e.g. `{"min_improvement": 0.005}`.

    Raises:
        UserError: see `codetr.steps.register.register`.
        RunFailed: the disk is full, or the like.
    """
    config = step_settings(register_step.RegisterConfig, "register", _optional(params), None)
    folder = Path(output)
    manifest = register_step.register(
        config.changed(_items(set), where="set"),
        model_folder(os.fspath(model)),
        Path(evaluation),
        Path(registry),
        folder,
    )
    summary = manifest.summary
    return RegisterResult(folder, summary, manifest.digest, summary["version"], summary["promoted"], summary["reasons"])


def _items(changes: Changes) -> Iterable[tuple[str, Any]]:
    return (changes or {}).items()


def _optional(path: StrPath | None) -> Path | None:
    return None if path is None else Path(path)


def _path(path: StrPath | None) -> str | None:
    return None if path is None else os.fspath(path)


def _paths(paths: StrPath | Sequence[StrPath] | None) -> list[str] | None:
    if paths is None:
        return None
    return [os.fspath(path) for path in ([paths] if isinstance(paths, str | os.PathLike) else paths)]
