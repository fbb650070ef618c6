"""The evaluate step: `model/` and `dataset/` → `evaluation/`, on one process or on all that torchrun started."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from codetr.core.code_version import code_version, library_versions
from codetr.core.errors import UserError, did_you_mean, listed
from codetr.core.files import atomic_directory, sha256_json
from codetr.core.manifest import Manifest, require_output
from codetr.core.progress import track
from codetr.core.system.lock import locked
from codetr.data.dataset.split import Split
from codetr.distributed.processes import processes
from codetr.evaluation.collect.predict_split import predict_split
from codetr.evaluation.comparison.champion import NO_CHAMPION, NOT_COMPARED, Against
from codetr.evaluation.config import EvaluateConfig
from codetr.evaluation.evaluate import evaluate_predictions
from codetr.evaluation.evaluation_set import evaluation_set_digest
from codetr.evaluation.report.tracking import log_evaluation
from codetr.evaluation.report.training import read_history
from codetr.evaluation.report.writer import Evaluated, write_evaluation
from codetr.evaluation.tables.ground_truth import GroundTruth
from codetr.evaluation.tables.predictions import PredictionTable
from codetr.inference.load import build_predictor
from codetr.inference.predictor import Model
from codetr.registry.gate import EvaluatedModel
from codetr.registry.promotion import conditions
from codetr.steps.champion import StoredChampion, stored_champion
from codetr.steps.result_key import ResultKey
from codetr.steps.store import ResultStore
from codetr.tracking import Tracker
from codetr.weights.model_folder import WEIGHTS, ModelInfo, load_model, read_info

logger = logging.getLogger(__name__)

DETECTION = ("codetr.evaluation.collect.predict_split", "codetr.inference.load", "codetr.weights.model_folder")
"""The modules that decide what is detected. An interrupted evaluation is resumed only by the same code: detections of
two versions must not be mixed. How the report is drawn has no influence."""


def evaluate(
    config: EvaluateConfig,
    model: Path,
    dataset: Path,
    output: Path,
    registry: Path | None = None,
    *,
    device: str = "auto",
    store: ResultStore | None = None,
    fresh: bool = False,
) -> Manifest:
    """Evaluate a model on a split of a dataset; under torchrun every process calls this with the same arguments.

    The predictions, and with them every file, are the same for any number of processes. An interrupted evaluation
    resumes when it is started again with the same arguments, with any number of processes.

    Args:
        config: see `EvaluateConfig`.
        model: folder written by `train`.
        dataset: folder written by `prepare`.
        output: folder for the evaluation: `metrics.json` (flat numbers), `per_class.json`, `per_image.json`,
            `errors.json`, `confusion.json`, `calibration.json`, `pr_curve.json`, `predictions.json` (COCO results),
            `matches.safetensors` (for comparisons), `plots/`, `pictures/`, `report.html` and `manifest.json`; with a
            champion to compare with also `champion.json`. It appears, or replaces an earlier one, atomically at the
            end.
        registry: the registry whose champion to compare with; None for no comparison. It need not exist yet.
        device: what to compute on, see `codetr.distributed.devices`.
        store: where the evaluation is looked for before, and stored after; None for no store.
        fresh: do not look for a stored evaluation.

    Returns:
        The manifest of `output`. Its summary holds the metrics, the `verdict` on the comparison with the champion and
        `evaluation_set`, the digest of the ground truth: two evaluations are comparable when theirs are equal.

    Raises:
        UserError: a folder is of another kind or was changed, there is no such split, the classes of dataset and
            model differ, `output` holds something else, the registry is damaged, or the store cannot be
            used.
        RunFailed: another evaluation writes `output`.
    """
    torch.set_num_threads(config.threads)
    with processes(device) as group, ExitStack() as locks:
        # The number of processes that read images does not change the result.
        settings = config.model_dump(mode="json", exclude={"workers"})
        group.on_main(lambda: require_output(output, "evaluation"))
        lock = locked(output.parent / f".{output.name}.lock", folder=output, by="another evaluation")
        group.on_main(lambda: locks.enter_context(lock))
        group.on_main(lambda: check_inputs(model, dataset, config.split))
        made = Manifest.read(model, "model")
        inputs = {"model": made.digest, "dataset": Manifest.read(dataset, "dataset").digest}

        def key(champion: StoredChampion | None) -> ResultKey:
            return _result_key(inputs, settings, champion, compared=registry is not None, device=group.device.type)

        def restored() -> bool:
            # A folder that is no registry is reported before hours of detection. The champion may move until the end.
            champion = stored_champion(registry, made.digest)
            return store is not None and not fresh and store.restore(key(champion), output) is not None

        if group.on_main(restored):
            return Manifest.read(output, "evaluation")
        # Only now: mistakes in the paths are no runs.
        with Tracker.start("evaluate", output, config=settings, rank=group.rank) as tracker:
            split = Split.open(dataset, config.split)
            detector, info = load_model(model, group.device)
            if info.range_16bit != split.range_16bit:
                ranges = f"{list(info.range_16bit)}, the dataset says {list(split.range_16bit)}"
                logger.warning("the model was trained with range_16bit %s: 16-bit images look different to it", ranges)
            tracker.uses(model, "model")
            tracker.uses(dataset, "dataset")
            decisive = {name: value for name, value in settings.items() if name != "pictures"}
            work = output.parent / f".{output.name}.unfinished"
            share = f" (process 1 of {group.world_size})" if group.world_size > 1 else ""
            predictions = predict_split(
                build_predictor(Model(detector, info), config.tta, config.tiles),
                split,
                group=group,
                batch_size=config.batch_size,
                workers=config.workers,
                work=work,
                track=partial(track, label=f"detect images{share}"),
                key=sha256_json([inputs, decisive, code_version(*DETECTION), library_versions(), group.device.type]),
            )
            detected = _Detected(split, info, made, model, inputs, settings, predictions)

            def publish() -> None:
                champion = stored_champion(registry, made.digest)
                evaluated, verdict = detected.write(output, champion, compared=registry is not None)
                shutil.rmtree(work, ignore_errors=True)
                tracker.summary({"verdict": verdict})
                log_evaluation(tracker, evaluated, output, config.pictures)
                if store is not None:
                    store.publish(key(champion), output, tracking=tracker.location)

            group.on_main(publish)
    return Manifest.read(output, "evaluation")


@dataclass(frozen=True)
class _Detected:
    """The detections on a split, and what they were made from.

    Attributes:
        split: the images.
        info: description of the model.
        made: manifest of the model.
        model: folder of the model.
        inputs: digests of model and dataset.
        settings: those of the evaluation that change its result, by name.
        predictions: the detections; None on other processes than rank 0, which writes the evaluation.
    """

    split: Split
    info: ModelInfo
    made: Manifest
    model: Path
    inputs: Mapping[str, str]
    settings: Mapping[str, Any]
    predictions: PredictionTable | None

    def write(self, output: Path, champion: StoredChampion | None, *, compared: bool) -> tuple[Evaluated, str]:
        """Measure the detections, compare them with the champion, and write the evaluation (rank 0).

        Args:
            output: folder for the evaluation.
            champion: of the registry; None if there is none.
            compared: a registry is named.

        Returns:
            What was measured, and the headline of the verdict.
        """
        assert self.predictions is not None
        truth = GroundTruth.of_split(self.split)
        results = evaluate_predictions(truth, self.predictions, masks=self.info.model.gives_masks)
        evaluated = Evaluated(self.split, truth, self.predictions, results)
        evaluation_set = evaluation_set_digest(self.split, truth)
        if champion is not None:
            new = EvaluatedModel(
                results.flat, evaluation_set, self.info.class_names, self.made.digest, conditions(self.settings)
            )
            against: Against = champion.against(new)
            inputs = {**self.inputs, "champion": champion.version.evaluation}
        else:
            against = NO_CHAMPION if compared else NOT_COMPARED
            inputs = dict(self.inputs)
        with atomic_directory(output) as folder:
            verdict = write_evaluation(
                folder,
                evaluated,
                title=self.info.recipe,
                lineage=self._lineage(inputs, evaluation_set),
                count=self.settings["pictures"],
                against=against,
                training=read_history(self.model),
            )
            Manifest.of(
                folder,
                "evaluation",
                code=code_version(__name__),
                inputs=inputs,
                config=dict(self.settings),
                summary={
                    **results.flat,
                    "split": self.split.name,
                    "evaluation_set": evaluation_set,
                    "verdict": verdict.headline,
                },
            ).write(folder)
        return evaluated, verdict.headline

    def _lineage(self, inputs: Mapping[str, str], evaluation_set: str) -> list[tuple[str, str]]:
        """Return label and value of everything that the evaluation is made from."""
        published = self.made.summary.get("published")
        return [
            ("model", inputs["model"]),
            ("weights", self.made.files[WEIGHTS]),
            *([("published", str(published))] if published else []),
            ("recipe", self.info.recipe),
            ("dataset", inputs["dataset"]),
            ("evaluation set", evaluation_set),
            *([("champion", inputs["champion"])] if "champion" in inputs else []),
            *((f"setting {name}", str(value)) for name, value in self.settings.items()),
            *code_version(__name__).items(),
        ]


def _result_key(
    inputs: Mapping[str, str],
    settings: Mapping[str, Any],
    champion: StoredChampion | None,
    *,
    compared: bool,
    device: str,
) -> ResultKey:
    """Return the key of an evaluation in the store of results: the report compares with the champion, if asked to."""
    against: Any = None
    if compared:
        version = None if champion is None else champion.version
        against = {} if version is None else {"name": version.name, "digest": version.digest, "at": version.at}
    return ResultKey.of_step(
        "evaluation", __name__, inputs={**inputs, "champion": against}, settings=settings, device=device
    )


def check_inputs(model: Path, dataset: Path, split: str) -> None:
    """Raise `UserError` unless model and dataset are intact, have the split and the same classes in the same order."""
    Manifest.read(model, "model", verify=True)
    Manifest.read(dataset, "dataset", verify=True)
    known = list(read_info(model).class_names)
    names = Split.open(dataset, split).names
    if known == names:
        return
    parts = []
    if unknown := [name for name in names if name not in known]:
        parts.append(f"the model does not have {_some(unknown)}")
    missing = [name for name in known if name not in names]
    if missing:
        parts.append(f"the dataset does not have {_some(missing)}")
    meant = did_you_mean(unknown[0], missing) if unknown else ""
    raise UserError(
        "; ".join(parts) or "the classes are the same but in another order",
        where=f"classes of {model} and {dataset}",
        hint=f"{meant}Evaluate on a dataset that was prepared with the classes the model was trained on.",
    )


def _some(names: list[str]) -> str:
    return listed([f"'{name}'" for name in names], 5)
