"""Model and evaluation folders as the steps write them, in miniature."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from codetr.core.manifest import Manifest


class Candidate(NamedTuple):
    model: Path
    evaluation: Path


MakeCandidate = Callable[..., Candidate]


@pytest.fixture
def make_candidate(tmp_path: Path) -> MakeCandidate:
    """Write a model and its evaluation; every argument that changes makes another model."""

    def write(
        weights: str = "w",
        ap: float | None = 0.4,
        *,
        evaluation_set: str | None = "sha256:set",
        classes: tuple[str, ...] = ("square", "disc"),
        settings: dict[str, Any] | None = None,
    ) -> Candidate:
        parts = (weights, ap, evaluation_set, "-".join(classes), len(settings or {}))
        root = tmp_path / "work" / "-".join(map(str, parts)).replace(":", "")
        if root.exists():
            return Candidate(root / "model", root / "evaluation")
        model, evaluation = root / "model", root / "evaluation"
        (evaluation / "plots").mkdir(parents=True)
        model.mkdir()
        (model / "model.safetensors").write_text(weights)
        (model / "model.json").write_text(json.dumps({"class_names": list(classes)}))
        trained = Manifest.of(model, "model", inputs={"dataset": "sha256:data"}, code={"codetr": "0"})
        trained.write(model)
        (evaluation / "plots" / "curve.png").write_text("curve")
        (evaluation / "metrics.json").write_text(json.dumps({"AP": ap}))
        summary = {"AP": ap, "AP50": 0.6} | ({"evaluation_set": evaluation_set} if evaluation_set else {})
        inputs = {"model": trained.digest, "dataset": "sha256:data"}
        measured = Manifest.of(
            evaluation, "evaluation", inputs=inputs, config=settings or {}, summary=summary, code={"codetr": "0"}
        )
        measured.write(evaluation)
        return Candidate(model, evaluation)

    return write
