"""The gate applied to a registry: what moves, what does not, and what repeats itself harmlessly."""

import pytest

from codetr.core.errors import UserError
from codetr.registry.promotion import consider
from codetr.registry.store import Registry


@pytest.fixture
def registry(tmp_path) -> Registry:
    return Registry.open(tmp_path / "registry", create=True)


def test_first_then_better_then_worse(registry, make_candidate):
    verdicts = [
        consider(registry, registry.add(*make_candidate(weights, ap)))
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
def test_what_cannot_be_compared_does_not_move_the_alias(registry, make_candidate, other):
    consider(registry, registry.add(*make_candidate("a", 0.4)))
    assert not consider(registry, registry.add(*make_candidate("b", 0.9, **other))).promoted
    assert registry.aliases().champion == "v1"


def test_how_many_pictures_were_drawn_does_not_matter(registry, make_candidate):
    consider(registry, registry.add(*make_candidate("a", 0.4)))
    settings = {"batch_size": 1, "pictures": 3, "threads": 2}
    assert consider(registry, registry.add(*make_candidate("b", 0.5, settings=settings))).promoted


def test_asking_again_changes_nothing(registry, make_candidate):
    """A task that is retried after it succeeded must not write history twice, nor find the champion unworthy."""
    first, worse = registry.add(*make_candidate("a", 0.4)), registry.add(*make_candidate("b", 0.3))
    for version in (first, worse):
        consider(registry, version)
    again = consider(registry, first)
    assert again.promoted
    assert again.reasons == ("it is the champion already",)
    assert not consider(registry, worse).promoted
    assert [entry.action for entry in registry.journal()] == ["promote", "refuse"]


def test_a_version_that_was_rolled_back_is_not_promoted_by_the_gate_again(registry, make_candidate):
    """Otherwise the next scheduled run with the same data would undo what a person decided."""
    first, second = registry.add(*make_candidate("a", 0.4)), registry.add(*make_candidate("b", 0.5))
    consider(registry, first)
    consider(registry, second)
    registry.rollback(why="blind at night")
    verdict = consider(registry, second)
    assert not verdict.promoted
    assert "rolled back" in verdict.reasons[0]
    assert "blind at night" in verdict.reasons[0]
    assert registry.aliases().champion == "v1"
    assert consider(registry, registry.add(*make_candidate("c", 0.6))).promoted


def test_a_person_can_put_a_withdrawn_version_back(registry, make_candidate):
    first, second = registry.add(*make_candidate("a", 0.4)), registry.add(*make_candidate("b", 0.5))
    consider(registry, first)
    consider(registry, second)
    registry.rollback(why="?")
    registry.rollback("v2", why="it was the camera")
    assert consider(registry, second).promoted
    assert not consider(registry, first).promoted


def test_a_model_without_class_names_is_an_error(registry, make_candidate, tmp_path):
    candidate = make_candidate(classes=())
    version = registry.add(*candidate)
    assert consider(registry, version).promoted
    broken = make_candidate("broken")
    (broken.model / "model.json").write_text('{"class_names": "square"}')
    from codetr.core.manifest import Manifest

    manifest = Manifest.of(broken.model, "model")
    manifest.write(broken.model)
    with pytest.raises(UserError, match="class_names is not a list"):
        consider(registry, registry.add(*broken))
