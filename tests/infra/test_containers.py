"""The Dockerfiles follow hadolint's rules and copy only what the repository holds."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.paths import ROOT

DOCKERFILES = sorted((ROOT / "infra/containers").glob("*.Dockerfile"))


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.stem)
def test_hadolint_finds_nothing(dockerfile: Path) -> None:
    hadolint = Path(sys.executable).parent / "hadolint"
    result = subprocess.run([hadolint, "--no-color", dockerfile], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout
    assert result.stdout == ""


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.stem)
def test_copies_only_what_exists_and_is_sent(dockerfile: Path) -> None:
    """A COPY of a path that is missing, or that .dockerignore holds back, breaks the build."""
    sent = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    lines = [line.split()[1:] for line in dockerfile.read_text().splitlines() if line.startswith("COPY ")]
    copied = [path for words in lines if not words[0].startswith("--from") for path in words[:-1]]
    assert copied
    for path in copied:
        assert (ROOT / path).exists(), f"{path} does not exist"
        assert path.split("/")[0] in sent, f"{path} is held back by .dockerignore"
