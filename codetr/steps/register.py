"""The register step: `model/` and `evaluation/` → a version in the registry, promoted if the gate passes."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from codetr.core.bounds import NonNegativeFloat
from codetr.core.code_version import code_version
from codetr.core.errors import UserError
from codetr.core.files import atomic_directory, sync, write_json
from codetr.core.manifest import Manifest, require_output
from codetr.core.settings import Settings
from codetr.registry.promotion import promote_if_better
from codetr.registry.store import Registry
from codetr.tracking import Tracker

RESULT = "registration.json"
RESERVE = 1 << 20
"""Bytes of disk space that the registration needs at most."""


class RegisterConfig(Settings):
    """Settings of the register step.

    Attributes:
        metric: name of the metric that the gate compares; higher is better.
        min_improvement: a challenger has to be better than the champion, and by at least this much.
        floor: a model below this value never becomes champion, not even as the first; None for no floor.
    """

    metric: str = "AP"
    min_improvement: NonNegativeFloat = 0.0
    floor: NonNegativeFloat | None = None


def register(config: RegisterConfig, model: Path, evaluation: Path, registry: Path, output: Path) -> Manifest:
    """Register a model with its evaluation, and write `registration.json` with the version and the verdict.

    A challenger that the gate refuses becomes a version too; only the alias does not move. A repeated registration
    gives the same version.

    Args:
        config: see `RegisterConfig`.
        model: folder written by `train`.
        evaluation: folder written by `evaluate` for the same model.
        registry: the registry's folder; created if it does not exist.
        output: folder for the registration; an earlier one is replaced.

    Returns:
        The manifest of `output`; its summary holds version, verdict and metrics.

    Raises:
        UserError: a folder is of the wrong kind or has changed, the evaluation is of another model or has no such
            metric, the registry cannot be read or written, or `output` holds something else. Nothing is registered
            then.
        OSError: `output` cannot be written, e.g. because the disk is full. Nothing is registered then.
    """
    require_output(output, "registration")
    manifest = Manifest.read(model, "model", verify=True)
    measured = Manifest.read(evaluation, "evaluation", verify=True)
    digest, about = _digest(manifest, model), measured.inputs.get("model")
    if about != digest:
        hint = f"Evaluate this model first: codetr evaluate --model {model} …"
        raise UserError(f"is the evaluation of another model ({about}, not {digest})", where=str(evaluation), hint=hint)
    if config.metric not in measured.summary:
        names = ", ".join(sorted(name for name, value in measured.summary.items() if not isinstance(value, str)))
        raise UserError(f"the evaluation has no metric '{config.metric}'", where="metric", hint=f"Metrics: {names}.")
    with ExitStack() as tracked:
        # A registration changes the registry for good: first make sure that it can be written.
        with atomic_directory(output) as folder:
            reserve = folder / "reserve"
            reserve.write_bytes(bytes(RESERVE))
            sync(reserve)
            store = Registry.open(registry, create=True)
            # Only now: mistakes in the paths are no runs.
            tracker = tracked.enter_context(Tracker.start("register", output, config=config.model_dump(mode="json")))
            tracker.uses(model, "model")
            tracker.uses(evaluation, "evaluation")
            version = store.add(model, evaluation)
            verdict = promote_if_better(
                store, version, metric=config.metric, min_improvement=config.min_improvement, floor=config.floor
            )
            result = {
                "version": version.name,
                "digest": version.digest,
                "verdict": verdict.model_dump(mode="json"),
                "lineage": {
                    "model": version.model,
                    "evaluation": version.evaluation,
                    "dataset": manifest.inputs.get("dataset"),
                    "evaluated on": measured.inputs.get("dataset"),
                },
            }
            summary = {
                "version": version.name,
                "promoted": verdict.promoted,
                "reasons": "; ".join(verdict.reasons),
                "metric": verdict.metric,
                "challenger": verdict.challenger,
                "champion": verdict.champion,
            }
            reserve.unlink()
            write_json(folder / RESULT, result)
            Manifest.of(
                folder,
                "registration",
                code=code_version(__name__),
                inputs={"model": version.model, "evaluation": version.evaluation},
                config=config.model_dump(mode="json"),
                summary=summary,
            ).write(folder)
        tracker.summary(summary)
    return Manifest.read(output, "registration")


def _digest(manifest: Manifest, folder: Path) -> str:
    try:
        return manifest.digest
    except ValueError:
        raise UserError("its summary holds NaN or infinity, which JSON does not have", where=str(folder)) from None
