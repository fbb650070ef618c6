"""dvc.yaml repeats a stage when its code changes, and only then."""

from __future__ import annotations

import runpy

import pytest
import yaml

from codetr.core.code_version import source_files
from tests.support.paths import ROOT

SCRIPT = runpy.run_path(str(ROOT / ".ci/dvc_dependencies.py"))
STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]


def test_dvc_yaml_lists_what_the_steps_import() -> None:
    """A missing file gives stale results; one too many trains again. `make dvc-dependencies` renews them."""
    text = (ROOT / "dvc.yaml").read_text()
    assert SCRIPT["rewritten"](text) == text


@pytest.mark.parametrize("stage", sorted(STAGES))
def test_listed_folders_hold_nothing_that_the_stage_does_not_run(stage: str) -> None:
    listed = [ROOT / path for path in STAGES[stage]["deps"] if path.startswith("codetr/")]
    files = {
        file
        for path in listed
        for file in ([path] if path.is_file() else path.rglob("*"))
        if file.is_file() and "__pycache__" not in file.parts
    }
    assert files == set(source_files(f"codetr.steps.{stage}"))
