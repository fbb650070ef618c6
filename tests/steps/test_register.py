"""The register step on folders as the steps before it leave them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from codetr.core.errors import UserError
from codetr.core.manifest import Manifest
from codetr.registry.store import Registry
from codetr.steps.register import RegisterConfig, register
from tests.support.registry.registry_folders import MakeCandidate


@pytest.fixture
def registry(tmp_path: Path) -> Path:
    return tmp_path / "registry"


def run(
    make_candidate: MakeCandidate,
    registry: Path,
    weights: str = "a",
    ap: float | None = 0.4,
    config: RegisterConfig | None = None,
) -> tuple[Manifest, Path]:
    candidate = make_candidate(weights, ap)
    output = registry.parent / f"registration-{weights}"
    return register(config or RegisterConfig(), *candidate, registry, output), output


def test_a_registration_holds_version_verdict_and_lineage(make_candidate: MakeCandidate, registry: Path) -> None:
    manifest, output = run(make_candidate, registry)
    candidate = make_candidate("a", 0.4)
    model, evaluation = Manifest.read(candidate.model, "model"), Manifest.read(candidate.evaluation, "evaluation")
    result = json.loads((output / "registration.json").read_text())
    assert result["version"] == "v1"
    assert result["verdict"]["promoted"]
    assert (result["verdict"]["challenger"], result["verdict"]["champion"]) == (0.4, None)
    assert result["lineage"] == {
        "model": model.digest,
        "evaluation": evaluation.digest,
        "dataset": "sha256:data",
        "evaluated on": "sha256:data",
    }
    assert manifest == Manifest.read(output, "registration", verify=True)
    assert manifest.inputs == {"model": model.digest, "evaluation": evaluation.digest}
    assert manifest.summary["promoted"] is True


def test_a_refused_challenger_is_a_version_but_not_champion(make_candidate: MakeCandidate, registry: Path) -> None:
    run(make_candidate, registry, "a", 0.4)
    manifest, output = run(make_candidate, registry, "b", 0.3)
    assert manifest.summary["version"] == "v2"
    assert manifest.summary["promoted"] is False
    verdict = json.loads((output / "registration.json").read_text())["verdict"]
    assert (verdict["challenger"], verdict["champion"], verdict["champion_version"]) == (0.3, 0.4, "v1")
    store = Registry.open(registry)
    assert store.aliases().champion == "v1"
    assert len(store.versions()) == 2


def test_a_better_one_takes_over_and_repeating_it_gives_the_same(make_candidate: MakeCandidate, registry: Path) -> None:
    run(make_candidate, registry, "a", 0.4)
    first, _ = run(make_candidate, registry, "b", 0.5)
    store = Registry.open(registry)
    assert store.aliases().model_dump() == {"champion": "v2", "previous": "v1"}
    again, _ = run(make_candidate, registry, "b", 0.5)
    assert again.summary["version"] == first.summary["version"] == "v2"
    assert again.summary["promoted"] is True
    assert store.aliases().model_dump() == {"champion": "v2", "previous": "v1"}


def test_the_evaluation_of_another_model_is_refused_before_anything_is_written(
    make_candidate: MakeCandidate, registry: Path, tmp_path: Path
) -> None:
    """Registering a model with the figures of a better one is what this pipeline must never do."""
    good, bad = make_candidate("good", 0.9), make_candidate("bad", 0.1)
    with pytest.raises(UserError, match="evaluation of another model"):
        register(RegisterConfig(), bad.model, good.evaluation, registry, tmp_path / "out")
    assert not registry.exists()
    assert not (tmp_path / "out").exists()


def test_no_evaluation_no_registration(make_candidate: MakeCandidate, registry: Path, tmp_path: Path) -> None:
    candidate = make_candidate()
    with pytest.raises(UserError, match="there is no such folder"):
        register(RegisterConfig(), candidate.model, tmp_path / "never-evaluated", registry, tmp_path / "out")
    with pytest.raises(UserError, match="is a folder of kind 'model', expected 'evaluation'"):
        register(RegisterConfig(), candidate.model, candidate.model, registry, tmp_path / "out")
    assert not registry.exists()


@pytest.mark.parametrize("file", ["model/model.safetensors", "evaluation/metrics.json", "evaluation/plots/curve.png"])
def test_a_file_that_changed_since_its_step_is_refused(
    make_candidate: MakeCandidate, registry: Path, tmp_path: Path, file: str
) -> None:
    candidate = make_candidate()
    (candidate.model.parent / file).write_text("changed")
    with pytest.raises(UserError, match="differs from the digest"):
        register(RegisterConfig(), *candidate, registry, tmp_path / "out")
    assert not registry.exists()


def test_an_unknown_metric_is_an_error_that_lists_the_known_ones(make_candidate: MakeCandidate, registry: Path) -> None:
    with pytest.raises(UserError, match=r"no metric 'mAP'.*Metrics: AP, AP50"):
        run(make_candidate, registry, config=RegisterConfig(metric="mAP"))


def test_a_metric_without_a_value_is_kept_but_not_promoted(make_candidate: MakeCandidate, registry: Path) -> None:
    """An evaluation set without objects measures nothing; that is a verdict, not a crash."""
    manifest, _ = run(make_candidate, registry, ap=None)
    assert manifest.summary["promoted"] is False
    assert "missing" in manifest.summary["reasons"]


def test_floor_and_improvement_are_settings(make_candidate: MakeCandidate, registry: Path) -> None:
    low, _ = run(make_candidate, registry, "a", 0.2, RegisterConfig(floor=0.3))
    assert low.summary["promoted"] is False
    assert run(make_candidate, registry, "b", 0.4, RegisterConfig(floor=0.3))[0].summary["promoted"] is True
    assert (
        run(make_candidate, registry, "c", 0.41, RegisterConfig(min_improvement=0.05))[0].summary["promoted"] is False
    )
    with pytest.raises(UserError, match="min_improvement"):
        RegisterConfig.parse({"min_improvement": -0.1})
