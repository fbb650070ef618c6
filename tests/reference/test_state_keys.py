"""The recipes' detectors have exactly the parameters of the published checkpoints."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from codetr import zoo
from codetr.models.detector import build_detector
from codetr.weights.official.key_names import to_official


def test_keys_and_shapes(golden: Path, published: str) -> None:
    """A published checkpoint would not load into the recipe of its name."""
    expected = json.loads((golden / "state_keys" / f"{published}.json").read_text())
    with torch.device("meta"):
        detector = build_detector(zoo.recipe(published).model)
    written = {name: list(value.shape) for name, value in to_official(detector).items()}
    assert written == expected
    assert list(written) == list(expected), "in the official order"
    summary = json.loads((golden / "state_keys" / "_summary.json").read_text())[published]
    assert sum(parameter.numel() for parameter in detector.parameters()) == summary["total_params"]
