"""Apply the gate to a version: compare it with the champion, and record the decision in the journal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from codetr.core.errors import UserError
from codetr.core.files import read_json
from codetr.core.manifest import Manifest
from codetr.registry.gate import EvaluatedModel, Verdict, evaluate_gate
from codetr.registry.store import AliasesMovedError, Registry
from codetr.registry.versions_and_journal import JournalAction, JournalEntry, Version

NOT_CONDITIONS = frozenset({"split", "threads", "pictures"})
"""Settings in an evaluation's manifest that do not decide the metrics: the number of CPU threads and of pictures, and
the split, of which the evaluation set is the digest. All others do, those of a later release too."""


def conditions(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of an evaluation, as in its manifest, that decide its metrics."""
    return {name: value for name, value in config.items() if name not in NOT_CONDITIONS}


def champion_to_beat(registry: Registry, model: str) -> Version | None:
    """Return the version that a model is to be compared with: the champion, or None if there is none.

    For the model of the champion itself it is the version that it replaced, so that the evaluation of a model is the
    same before and after its promotion.

    Args:
        registry: the registry.
        model: digest of the model's manifest.

    Raises:
        UserError: the registry is damaged: a version that its journal names is not there, for instance.
    """
    journal = registry.journal()
    name = journal[-1].after.champion if journal else None
    seen: set[str] = set()
    while name is not None and name not in seen:
        version = registry.version(name)
        if version.model != model:
            return version
        seen.add(name)
        promotions = (entry for entry in reversed(journal) if entry.action == "promote" and entry.version == name)
        promotion = next(promotions, None)
        name = promotion.before.champion if promotion else None
    return None


def read_evaluated_model(registry: Registry, version: Version) -> EvaluatedModel:
    """Read what the gate compares of a version.

    Raises:
        UserError: the content is damaged, or the model does not list its classes.
    """
    evaluation = Manifest.read(registry.folder(version, "evaluation"), "evaluation")
    path = registry.folder(version, "model") / "model.json"
    info = read_json(path)
    names = info.get("class_names") if isinstance(info, dict) else None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise UserError("class_names is not a list of names", where=str(path))
    return EvaluatedModel(
        metrics=evaluation.summary,
        evaluation_set=evaluation.summary.get("evaluation_set"),
        class_names=names,
        model=version.model,
        conditions=conditions(evaluation.config),
    )


def promote_if_better(
    registry: Registry,
    version: Version,
    *,
    metric: str = "AP",
    min_improvement: float = 0.0,
    floor: float | None = None,
) -> Verdict:
    """Compare a version with the champion, and make it the champion if the gate passes.

    The decision and the move are atomic: if the champion changes in between, the gate decides again. A repeated call
    for the champion, or for a version that this champion was preferred to, changes nothing.

    Args:
        registry: the registry of both.
        version: the challenger.
        metric: see `evaluate_gate`, also for the next two.
        min_improvement: the required improvement.
        floor: the required value.

    Raises:
        UserError: the content of the version or of the champion is damaged.
    """
    challenger = read_evaluated_model(registry, version)
    while True:
        journal = registry.journal()
        seen = journal[-1] if journal else None
        champion_name = seen.after.champion if seen else None
        champion = None
        if champion_name is not None and champion_name != version.name:
            champion = read_evaluated_model(registry, registry.version(champion_name))
        verdict = evaluate_gate(
            challenger,
            champion,
            None if champion is None else champion_name,
            metric=metric,
            min_improvement=min_improvement,
            floor=floor,
        )
        if champion_name == version.name:
            return verdict.model_copy(update={"promoted": True, "reasons": ("it is already the champion",)})
        rollback = _rollback_from(journal, version)
        if rollback is not None:
            reason = f"{version.name} was rolled back on {rollback.at} by {rollback.by}: {rollback.why}"
            others = () if verdict.promoted else verdict.reasons
            verdict = verdict.model_copy(update={"promoted": False, "reasons": (reason, *others)})
        if not verdict.promoted and any(
            entry.version == version.name and entry.verdict == verdict for entry in journal
        ):
            return verdict
        action: JournalAction = "promote" if verdict.promoted else "refuse"
        try:
            registry.record(action, version, "; ".join(verdict.reasons), seen=seen, verdict=verdict)
        except AliasesMovedError:
            continue
        return verdict


def _rollback_from(journal: list[JournalEntry], version: Version) -> JournalEntry | None:
    """Return the rollback from this version to another, unless the version has been champion since; else None."""
    for entry in reversed(journal):
        if entry.action != "refuse" and version.name in (entry.after.champion, entry.before.champion):
            rolled_back = entry.action == "rollback" and entry.before.champion == version.name
            return entry if rolled_back else None
    return None
