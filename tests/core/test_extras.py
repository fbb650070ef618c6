"""The command that installs an extra."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from codetr.core.extras import CONSTRAINTS, install_hint
from tests.support.paths import ROOT

EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]


def test_in_a_checkout_the_installation_stays_editable_at_the_tested_versions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`pip install .` would replace it by a copy, which later changes of the sources do not reach."""
    monkeypatch.chdir(ROOT)
    command = f'pip install -c {CONSTRAINTS} -e ".[export]"'
    assert install_hint("export") == f"Install it: {command}"
    monkeypatch.chdir(tmp_path)
    assert install_hint("export") == f"Install it, in {ROOT}: {command}"


@pytest.mark.parametrize("extra", ["export", "video", "timm", "dvc", "s3", "wandb", "kubeflow"])
def test_elsewhere_the_packages_are_named(extra: str, tmp_path: Path) -> None:
    """No package called codetr is published: whoever takes the name could install anything."""
    command = install_hint(extra, package=tmp_path / "codetr")
    assert "codetr[" not in command
    assert re.split("[<>=[]", EXTRAS[extra][0])[0] in command


def test_every_extra_that_code_names_exists() -> None:
    named = {
        line.partition('install_hint("')[2].partition('"')[0]
        for folder in ("codetr", "pipelines")
        for path in (ROOT / folder).rglob("*.py")
        for line in path.read_text(encoding="utf-8").splitlines()
        if 'install_hint("' in line
    }
    assert named
    assert named <= EXTRAS.keys()
