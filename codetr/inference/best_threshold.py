"""The score threshold that an evaluation of a model found best."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from codetr.core.errors import UserError
from codetr.core.manifest import NAME, Manifest
from codetr.core.settings import Settings
from codetr.inference.config import TilesConfig, TTAConfig


@dataclass(frozen=True)
class BestThreshold:
    """A score threshold and where it is from.

    Attributes:
        score: the threshold with the highest F1 at IoU 0.5.
        split: the split that was evaluated.
        evaluation: the folder of the evaluation.
    """

    score: float
    split: str
    evaluation: Path


def best_threshold(
    model: Path, *, tta: TTAConfig | None = None, tiles: TilesConfig | None = None
) -> BestThreshold | None:
    """Return the best threshold of the newest evaluation of a model; None if there is none beside it.

    An evaluation belongs to a model if its manifest has the digest of the model's. It is looked for among the folders
    beside the model: `outputs/model` and `outputs/evaluation`, as in a version of a registry.

    Args:
        model: a model folder.
        tta: test-time augmentation of the prediction; merged detections have other scores, so the evaluation has to
            have used the same.
        tiles: tiles of the prediction; the evaluation has to have used the same.
    """
    conditions = {"tta": _json(tta), "tiles": _json(tiles)}
    try:
        digest = Manifest.read(model, "model").digest
    except UserError:  # Weights alone, or a folder that the caller refuses.
        return None
    found = []
    for path in model.resolve().parent.glob(f"*/{NAME}"):
        try:
            manifest = Manifest.read(path.parent, "evaluation")
            written = path.stat().st_mtime
        except (UserError, OSError):
            continue
        score = manifest.summary.get("score_threshold")
        if any(manifest.config.get(name) != value for name, value in conditions.items()):
            continue
        if manifest.inputs.get("model") == digest and manifest.summary.get("f1") and isinstance(score, int | float):
            best = BestThreshold(float(score), str(manifest.summary.get("split", "val")), path.parent)
            found.append((written, str(path), best))
    return max(found)[-1] if found else None


def _json(settings: Settings | None) -> Any:
    """Return settings as manifests hold them."""
    return None if settings is None else settings.model_dump(mode="json")
