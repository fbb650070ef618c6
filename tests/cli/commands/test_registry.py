"""The registry from the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.command import call
from tests.support.registry.registry_folders import Candidate, MakeCandidate


def register(
    capsys: pytest.CaptureFixture[str], candidate: Candidate, registry: Path, output: Path, *more: str
) -> tuple[int, str, str]:
    return call(
        capsys, "register", "-m", candidate.model, "-e", candidate.evaluation, "-r", registry, "-o", output, *more
    )


def test_register_list_show_and_rollback(
    capsys: pytest.CaptureFixture[str], make_candidate: MakeCandidate, tmp_path: Path
) -> None:
    registry = tmp_path / "registry"
    for weights, ap in (("a", 0.4), ("b", 0.5), ("c", 0.45)):
        code, out, _ = register(capsys, make_candidate(weights, ap), registry, tmp_path / f"out-{weights}")
        # A refusal is a result, not an error.
        assert code == 0
    assert "not better than 0.5000 of the champion v2" in out

    code, out, _ = call(capsys, "registry", "list", registry)
    lines = out.splitlines()
    assert code == 0
    assert [line.split()[0] for line in lines[1:]] == ["v3", "v2", "v1"]
    assert "champion" in lines[2]
    assert "0.5" in lines[2]
    assert "previous" in lines[3]

    code, out, _ = call(capsys, "registry", "rollback", registry, "--why", "blind at night")
    assert code == 0
    assert "v2 → v1" in out
    code, out, _ = call(capsys, "registry", "show", registry, "v2")
    assert code == 0
    assert "previous" in out
    assert "rollback" in out
    assert "blind at night" in out
    assert "not better than" not in out
    code, out, _ = call(capsys, "registry", "show", registry, "v3")
    assert "not better than" in out


def test_rollback_without_a_reason_is_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, _, err = call(capsys, "registry", "rollback", tmp_path)
    assert code == 2
    assert "--why" in err


def test_a_setting_on_the_command_line_reaches_the_step(
    capsys: pytest.CaptureFixture[str], make_candidate: MakeCandidate, tmp_path: Path
) -> None:
    _, out, _ = register(capsys, make_candidate("a", 0.4), tmp_path / "r", tmp_path / "o", "--set", "floor=0.5")
    assert "below the floor" in out
    code, _, err = register(capsys, make_candidate("a", 0.4), tmp_path / "r", tmp_path / "o", "--set", "flor=0.5")
    assert code == 2
    assert "Fields of the configuration: floor, metric, min_improvement" in err
