"""The drawn sample data of a split as a setting of prepare, and how its annotations are changed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from codetr.data.config import SourceConfig
from codetr.data.synthetic import ANNOTATIONS


def source(folder: Path) -> SourceConfig:
    """Return a split as `draw_sample_data` writes it, as a source."""
    return SourceConfig(annotations=str(folder / ANNOTATIONS), images=str(folder / "images"))


def edit(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the content of the annotation file of a split."""
    path = folder / ANNOTATIONS
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
