"""The gate applied to a registry: what moves the alias, what does not, and repeated calls."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from codetr.core.errors import UserError
from codetr.registry.promotion import champion_to_beat, promote_if_better
from codetr.registry.store import Registry
from tests.support.registry.registry_folders import MakeCandidate


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry.open(tmp_path / "registry", create=True)


def test_first_then_better_then_worse(registry: Registry, make_candidate: MakeCandidate) -> None:
    verdicts = [
        promote_if_better(registry, registry.add(*make_candidate(weights, ap)))
        for weights, ap in (("a", 0.4), ("b", 0.5), ("c", 0.45))
    ]
    assert [verdict.promoted for verdict in verdicts] == [True, True, False]
    assert registry.aliases().model_dump() == {"champion": "v2", "previous": "v1"}
    assert len(registry.versions()) == 3
    assert [entry.action for entry in registry.journal()] == ["promote", "promote", "refuse"]
    assert registry.journal()[2].verdict == verdicts[2]
    assert (verdicts[2].challenger, verdicts[2].champion, verdicts[2].champion_version) == (0.45, 0.5, "v2")


@pytest.mark.parametrize(
    "other",
    [
        {"evaluation_set": "sha256:easy"},
        {"classes": ("square",)},
        {"evaluation_set": None},
        {"settings": {"batch_size": 1, "tta": {"scales": [1.0, 1.25], "flip": True}, "tiles": None}},
        {"settings": {"batch_size": 4}},
    ],
)
def test_what_cannot_be_compared_does_not_move_the_alias(
    registry: Registry, make_candidate: MakeCandidate, other: dict[str, Any]
) -> None:
    promote_if_better(registry, registry.add(*make_candidate("a", 0.4)))
    assert not promote_if_better(registry, registry.add(*make_candidate("b", 0.9, **other))).promoted
    assert registry.aliases().champion == "v1"


def test_the_number_of_pictures_is_not_a_condition(registry: Registry, make_candidate: MakeCandidate) -> None:
    promote_if_better(registry, registry.add(*make_candidate("a", 0.4, settings={"batch_size": 1})))
    settings = {"batch_size": 1, "pictures": 3, "threads": 2}
    assert promote_if_better(registry, registry.add(*make_candidate("b", 0.5, settings=settings))).promoted


def test_asking_again_changes_nothing(registry: Registry, make_candidate: MakeCandidate) -> None:
    """A task that is retried after it succeeded must not write the journal twice, nor refuse the champion."""
    first, worse = registry.add(*make_candidate("a", 0.4)), registry.add(*make_candidate("b", 0.3))
    for version in (first, worse):
        promote_if_better(registry, version)
    again = promote_if_better(registry, first)
    assert again.promoted
    assert again.reasons == ("it is already the champion",)
    assert not promote_if_better(registry, worse).promoted
    assert [entry.action for entry in registry.journal()] == ["promote", "refuse"]


def test_a_version_that_was_rolled_back_is_not_promoted_by_the_gate_again(
    registry: Registry, make_candidate: MakeCandidate
) -> None:
    """Otherwise the next scheduled run with the same data would undo what a person decided."""
    first, second = registry.add(*make_candidate("a", 0.4)), registry.add(*make_candidate("b", 0.5))
    promote_if_better(registry, first)
    promote_if_better(registry, second)
    registry.rollback(why="blind at night")
    verdict = promote_if_better(registry, second)
    assert not verdict.promoted
    assert "rolled back" in verdict.reasons[0]
    assert "blind at night" in verdict.reasons[0]
    assert registry.aliases().champion == "v1"
    assert promote_if_better(registry, registry.add(*make_candidate("c", 0.6))).promoted


def test_a_person_can_put_a_withdrawn_version_back(registry: Registry, make_candidate: MakeCandidate) -> None:
    first, second = registry.add(*make_candidate("a", 0.4)), registry.add(*make_candidate("b", 0.5))
    promote_if_better(registry, first)
    promote_if_better(registry, second)
    registry.rollback(why="?")
    registry.rollback("v2", why="it was the camera")
    assert promote_if_better(registry, second).promoted
    assert not promote_if_better(registry, first).promoted


def test_a_model_without_class_names_is_an_error(
    registry: Registry, make_candidate: MakeCandidate, tmp_path: Path
) -> None:
    candidate = make_candidate(classes=())
    version = registry.add(*candidate)
    assert promote_if_better(registry, version).promoted
    broken = make_candidate("broken")
    (broken.model / "model.json").write_text('{"class_names": "square"}')
    from codetr.core.manifest import Manifest

    manifest = Manifest.of(broken.model, "model")
    manifest.write(broken.model)
    with pytest.raises(UserError, match="class_names is not a list"):
        promote_if_better(registry, registry.add(*broken))


def test_a_model_is_compared_with_the_champion_and_the_champion_with_the_one_it_replaced(
    registry: Registry, make_candidate: MakeCandidate
) -> None:
    """A run that is repeated after its model was promoted must write the same evaluation, and register no version."""
    assert champion_to_beat(registry, "sha256:new") is None
    first = registry.add(*make_candidate("a", 0.4))
    promote_if_better(registry, first)
    assert champion_to_beat(registry, first.model) is None
    assert champion_to_beat(registry, "sha256:new") == first
    second = registry.add(*make_candidate("b", 0.5))
    promote_if_better(registry, second)
    assert champion_to_beat(registry, second.model) == first
    assert champion_to_beat(registry, first.model) == second
    registry.rollback("v1", why="misses small objects")
    assert champion_to_beat(registry, first.model) is None
    assert champion_to_beat(registry, second.model) == first


def test_a_champion_whose_version_is_gone_is_an_error_that_names_it(
    registry: Registry, make_candidate: MakeCandidate, tmp_path: Path
) -> None:
    """Somebody removed files by hand: a traceback would say nothing about the registry."""
    promote_if_better(registry, registry.add(*make_candidate("a", 0.4)))
    second = registry.add(*make_candidate("b", 0.5))
    promote_if_better(registry, second)
    (tmp_path / "registry/versions/000002.json").unlink()
    with pytest.raises(UserError, match="there is no version 'v2'"):
        champion_to_beat(registry, second.model)
