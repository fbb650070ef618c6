"""Moving the aliases of a registry, back and forth and against other processes."""

from __future__ import annotations

from pathlib import Path

import pytest

from codetr.core.errors import UserError
from codetr.registry.promotion import promote_if_better
from codetr.registry.store import AliasesMovedError, Registry
from codetr.storage.folder import FolderStorage
from tests.support.registry.registry_folders import MakeCandidate


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry.open(tmp_path / "registry", create=True)


def test_rollback_goes_back_and_forth_and_is_in_the_journal(registry: Registry, make_candidate: MakeCandidate) -> None:
    for weights, ap in (("a", 0.4), ("b", 0.5)):
        promote_if_better(registry, registry.add(*make_candidate(weights, ap)))
    entry = registry.rollback(why="blind at night")
    assert registry.aliases().model_dump() == {"champion": "v1", "previous": "v2"}
    assert (entry.action, entry.before.champion, entry.after.champion) == ("rollback", "v2", "v1")
    assert entry.why == "blind at night"
    assert "@" in entry.by
    assert entry.at.endswith("+00:00")
    registry.rollback(why="it was the camera")
    assert registry.aliases().model_dump() == {"champion": "v2", "previous": "v1"}
    assert [entry.serial for entry in registry.journal()] == [1, 2, 3, 4]


def test_rollback_to_any_version(registry: Registry, make_candidate: MakeCandidate) -> None:
    for weights, ap in (("a", 0.4), ("b", 0.5), ("c", 0.6)):
        promote_if_better(registry, registry.add(*make_candidate(weights, ap)))
    registry.rollback("v1", why="checked by hand")
    assert registry.aliases().model_dump() == {"champion": "v1", "previous": "v3"}
    with pytest.raises(UserError, match="v1 is already the champion"):
        registry.rollback("v1", why="again")


def test_rollback_needs_something_to_go_back_to(registry: Registry, make_candidate: MakeCandidate) -> None:
    with pytest.raises(UserError, match="no previous champion"):
        registry.rollback(why="?")
    promote_if_better(registry, registry.add(*make_candidate()))
    with pytest.raises(UserError, match="no previous champion"):
        registry.rollback(why="?")


def test_rollback_to_damaged_content_is_refused(registry: Registry, make_candidate: MakeCandidate) -> None:
    for weights, ap in (("a", 0.4), ("b", 0.5)):
        promote_if_better(registry, registry.add(*make_candidate(weights, ap)))
    file = registry.folder(registry.version("v1"), "model") / "model.safetensors"
    file.unlink()
    with pytest.raises(UserError, match="missing"):
        registry.rollback(why="?")
    assert registry.aliases().champion == "v2"


def test_a_rollback_needs_a_reason(registry: Registry) -> None:
    """The journal is read by people who were not there."""
    with pytest.raises(UserError, match="the reason is empty"):
        registry.rollback(why="  ")


class Overtaken(FolderStorage):
    """A storage to which another process writes a journal entry first."""

    def create(self, key: str, content: bytes) -> bool:
        if key == "journal/000004.json":
            other = Registry(FolderStorage(self.root))
            other.record("promote", other.version("v1"), "meanwhile", seen=other.latest())
        return super().create(key, content)


def test_a_rollback_that_another_process_overtakes_is_repeated_only_to_a_version_that_was_named(
    registry: Registry, make_candidate: MakeCandidate
) -> None:
    """It was meant for the champion that was read, which is not the champion any more."""
    for weights, ap in (("a", 0.4), ("b", 0.5), ("c", 0.6)):
        promote_if_better(registry, registry.add(*make_candidate(weights, ap)))
    overtaken = Registry(Overtaken(registry.storage.root))
    with pytest.raises(UserError, match="another process moved the aliases"):
        overtaken.rollback(why="blind at night")
    assert registry.aliases().champion == "v1"
    assert [entry.why for entry in registry.journal()][3:] == ["meanwhile"]
    overtaken.rollback("v2", why="blind at night")
    assert registry.aliases().champion == "v2"


def test_a_rollback_to_a_named_version_is_repeated(registry: Registry, make_candidate: MakeCandidate) -> None:
    for weights, ap in (("a", 0.4), ("b", 0.5), ("c", 0.6)):
        promote_if_better(registry, registry.add(*make_candidate(weights, ap)))
    Registry(Overtaken(registry.storage.root)).rollback("v2", why="blind at night")
    assert [entry.after.champion for entry in registry.journal()][3:] == ["v1", "v2"]


def test_moving_an_alias_that_another_process_moved_fails(registry: Registry, make_candidate: MakeCandidate) -> None:
    """Compare-and-swap: a decision on an old state must be repeated, not overwrite the newer one."""
    first, second = registry.add(*make_candidate("a")), registry.add(*make_candidate("b"))
    seen = registry.latest()
    registry.record("promote", first, "one", seen=seen)
    with pytest.raises(AliasesMovedError):
        registry.record("promote", second, "two", seen=seen)
    assert registry.aliases().champion == "v1"
