"""Applying the gate to a version: judge it against the champion, and write down what was decided."""

from __future__ import annotations

from codetr.core.errors import UserError
from codetr.core.files import read_json
from codetr.core.manifest import Manifest
from codetr.evaluation.config import EvaluateConfig
from codetr.registry.gate import Measured, Verdict, judge
from codetr.registry.store import MovedMeanwhileError, Registry
from codetr.registry.versions_and_journal import Action, Entry, Version

_CONDITIONS = {name: EvaluateConfig.model_fields[name].default for name in ("batch_size", "tta", "tiles")}
"""Settings of the step evaluate that change what is measured, beside the split, and their defaults."""


def measured(registry: Registry, version: Version) -> Measured:
    """What a version's evaluation says about it.

    Raises:
        UserError: the content is damaged, or the model does not say which classes it detects.
    """
    evaluation = Manifest.read(registry.folder(version, "evaluation"), "evaluation")
    path = registry.folder(version, "model") / "model.json"
    info = read_json(path)
    names = info.get("class_names") if isinstance(info, dict) else None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise UserError("class_names is not a list of names", where=str(path))
    return Measured(
        metrics=evaluation.summary,
        evaluation_set=evaluation.summary.get("evaluation_set"),
        class_names=names,
        model=version.model,
        conditions={name: evaluation.config.get(name, default) for name, default in _CONDITIONS.items()},
    )


def consider(
    registry: Registry,
    version: Version,
    *,
    metric: str = "AP",
    min_improvement: float = 0.0,
    floor: float | None = None,
) -> Verdict:
    """Let the gate decide about a version, and move `champion` to it if it passes.

    The decision and the move are one: if the champion changes while the gate thinks, it thinks again. Asking again
    about the champion, or about a version that this champion has already beaten, changes nothing.

    Raises:
        UserError: the content of the version or of the champion is damaged.
    """
    challenger = measured(registry, version)
    while True:
        journal = registry.journal()
        seen = journal[-1] if journal else None
        champion_name = seen.after.champion if seen else None
        champion = None
        if champion_name is not None and champion_name != version.name:
            champion = measured(registry, registry.version(champion_name))
        verdict = judge(
            challenger,
            champion,
            None if champion is None else champion_name,
            metric=metric,
            min_improvement=min_improvement,
            floor=floor,
        )
        if champion_name == version.name:
            return verdict.model_copy(update={"promoted": True, "reasons": ("it is the champion already",)})
        withdrawal = _withdrawal(journal, version)
        if withdrawal is not None:
            reason = f"{version.name} was rolled back on {withdrawal.at} by {withdrawal.by}: {withdrawal.why}"
            kept = () if verdict.promoted else verdict.reasons
            verdict = verdict.model_copy(update={"promoted": False, "reasons": (reason, *kept)})
        if not verdict.promoted and any(
            entry.version == version.name and entry.verdict == verdict for entry in journal
        ):
            return verdict
        action: Action = "promote" if verdict.promoted else "refuse"
        try:
            registry.record(action, version, "; ".join(verdict.reasons), seen=seen, verdict=verdict)
        except MovedMeanwhileError:
            continue
        return verdict


def _withdrawal(journal: list[Entry], version: Version) -> Entry | None:
    """The rollback that took the championship from this version, unless it has been champion since."""
    for entry in reversed(journal):
        if entry.action != "refuse" and version.name in (entry.after.champion, entry.before.champion):
            withdrawn = entry.action == "rollback" and entry.before.champion == version.name
            return entry if withdrawn else None
    return None
