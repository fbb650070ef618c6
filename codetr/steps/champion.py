"""Find the champion that a new model is compared with, and its stored evaluation."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from codetr.evaluation.comparison.champion import Champion
from codetr.registry.gate import EvaluatedModel, evaluate_gate, incomparable
from codetr.registry.promotion import champion_to_beat, read_evaluated_model
from codetr.registry.store import Registry
from codetr.registry.versions_and_journal import Version


@dataclass(frozen=True)
class StoredChampion:
    """The champion in a registry.

    Attributes:
        registry: the registry.
        version: the champion.
    """

    registry: Registry
    version: Version

    def against(self, new: EvaluatedModel) -> Champion:
        """Return it as what a new model is compared with."""
        champion = read_evaluated_model(self.registry, self.version)
        return Champion(
            version=self.version.name,
            registered=self.version.at,
            evaluation=self.registry.folder(self.version, "evaluation", verify=False),
            gate=evaluate_gate(new, champion, self.version.name),
            incomparable=tuple(incomparable(new, champion, "the champion")),
        )


def stored_champion(registry: Path | None, model: str) -> StoredChampion | None:
    """Return the champion of a registry that a model is to be compared with, its evaluation verified; None for none.

    Raises:
        UserError: the folder holds something else than a registry, or the registry is damaged.
    """
    if registry is None or not Registry.exists(registry):
        return None
    store = Registry.open(registry)
    version = champion_to_beat(store, model)
    if version is None:
        return None
    store.folder(version, "evaluation")
    return StoredChampion(store, version)
