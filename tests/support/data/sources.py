"""The drawn sample data of a split as a setting of prepare, and changed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from codetr.data.config import SourceConfig
from codetr.data.synthetic import ANNOTATIONS


def source(folder: Path) -> SourceConfig:
    return SourceConfig(annotations=str(folder / ANNOTATIONS), images=str(folder / "images"))


def edit(folder: Path, change: Any) -> None:
    path = folder / ANNOTATIONS
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
