"""Write the code that each stage runs into the dependencies of dvc.yaml: `make dvc-dependencies`.

DVC repeats a stage when one of its dependencies changed. A file that is missing there gives stale results, and a file
too many trains again for days because a plot changed, so the list is derived from the imports of the step.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from codetr.core.code_version import PACKAGE, source_files  # noqa: E402

STAGES = ("prepare", "train", "evaluate", "register")


def dependencies(stage: str) -> list[str]:
    """Return the files of codetr that a stage runs, relative to the repository; a folder stands for all its files."""
    files = set(source_files(f"codetr.steps.{stage}"))
    return [path.relative_to(ROOT).as_posix() for path in _merged(PACKAGE, files)]


def _merged(folder: Path, files: set[Path]) -> list[Path]:
    inside = {path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    if inside and inside <= files:
        return [folder]
    return [
        found
        for path in sorted(folder.iterdir())
        for found in (_merged(path, files) if path.is_dir() else [path] if path in files else [])
    ]


def rewritten(text: str) -> str:
    """Return the text of dvc.yaml with the dependencies on code as they should be."""
    for stage in STAGES:
        lines = "".join(f"      - {path}\n" for path in dependencies(stage))
        block = re.search(rf"^  {stage}:\n(?:    .*\n)*?    deps:\n((?:      - .*\n)+)", text, re.MULTILINE)
        assert block is not None, f"dvc.yaml has no stage '{stage}' with deps"
        data = "".join(line for line in block[1].splitlines(keepends=True) if not line.startswith("      - codetr/"))
        text = text[: block.start(1)] + data + lines + text[block.end(1) :]
    return text


if __name__ == "__main__":
    file = ROOT / "dvc.yaml"
    file.write_text(rewritten(file.read_text(encoding="utf-8")), encoding="utf-8")
