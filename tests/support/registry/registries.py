"""A registry with a model in it."""

from __future__ import annotations

from pathlib import Path

from codetr.core.files import write_json
from codetr.core.manifest import Manifest
from codetr.registry.store import Registry


def write_registry(root: Path, model: Path) -> Path:
    """Register a model, with an evaluation that says nothing, as v1 and champion of `root`/registry."""
    evaluation = root / "evaluation"
    evaluation.mkdir(parents=True)
    write_json(evaluation / "metrics.json", {"AP": 0.5})
    Manifest.of(evaluation, "evaluation").write(evaluation)
    registry = Registry.open(root / "registry", create=True)
    version = registry.add(model, evaluation)
    registry.record("promote", version, "the first", seen=None)
    return root / "registry"
