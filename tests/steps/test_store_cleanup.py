"""Removing stored results: by age, by size, what is damaged, and contents that no result refers to."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from codetr.core.files import write_text
from codetr.core.manifest import Manifest
from codetr.steps.result_key import ResultKey
from codetr.steps.store import ResultStore, blob_name, record_name
from codetr.steps.store_cleanup import DAY, clean_up, cleanup_plan, listed_results
from codetr.storage.folder import FolderStorage
from codetr.storage.storage import StoredObject


class Aged(FolderStorage):
    """A folder whose objects are as old as a test says: a number of days by key, otherwise ten."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.days: dict[str, float] = {}

    def objects(self, prefix: str) -> Iterator[StoredObject]:
        for entry in super().objects(prefix):
            modified = time.time() - self.days.get(entry.key, 10) * DAY
            yield StoredObject(entry.key, entry.size, modified)


def key(number: int) -> ResultKey:
    return ResultKey("evaluation", {"model": str(number)}, {}, {}, {})


@pytest.fixture
def storage(tmp_path: Path) -> Aged:
    return Aged(tmp_path / "store")


@pytest.fixture
def store(storage: Aged) -> ResultStore:
    return ResultStore(storage)


def publish(store: ResultStore, folder: Path, number: int, text: str, *, days: float = 10) -> str:
    """Store a result with one file, and return the name of its record."""
    write_text(folder / f"r{number}" / "metrics.json", text)
    Manifest.of(folder / f"r{number}", "evaluation", summary={"number": number}).write(folder / f"r{number}")
    assert store.publish(key(number), folder / f"r{number}")
    name = record_name(key(number))
    assert isinstance(store.storage, Aged)
    store.storage.days[name] = days
    return name


def test_results_are_listed_newest_first(store: ResultStore, tmp_path: Path) -> None:
    names = [publish(store, tmp_path, number, "x", days=days) for number, days in enumerate((3, 1, 2))]
    assert [one.name for one in listed_results(store)] == [names[1], names[2], names[0]]


def test_old_results_are_removed_with_what_only_they_have(store: ResultStore, tmp_path: Path) -> None:
    old = publish(store, tmp_path, 1, "shared", days=40)
    new = publish(store, tmp_path, 2, "shared", days=20)
    plan = cleanup_plan(store, now=time.time(), older_than=30 * DAY)
    assert [(one.name, reason) for one, reason in plan.results] == [(old, "too old")]
    assert len(plan.contents) == 1, "the manifest; the other file belongs to both"
    clean_up(store, plan)
    assert list(store.names()) == [new]
    assert store.problem(new) is None


def test_without_a_limit_only_damaged_results_and_unused_contents_go(
    store: ResultStore, storage: Aged, tmp_path: Path
) -> None:
    """Contents that a publisher has just written have no record yet: they stay for a day."""
    name = publish(store, tmp_path, 1, "x", days=1000)
    damaged = publish(store, tmp_path, 2, "y")
    storage.delete(damaged)
    storage.create(damaged, b"{")
    storage.create("blobs/aa/aa", b"left")
    storage.create("blobs/bb/bb", b"being published")
    storage.days["blobs/bb/bb"] = 0.5
    plan = cleanup_plan(store, now=time.time())
    assert [(one.name, reason) for one, reason in plan.results] == [(damaged, "damaged")]
    clean_up(store, plan)
    assert list(store.names()) == [name]
    assert store.problem(name) is None
    assert storage.names("blobs/bb") == ["bb"]
    assert storage.names("blobs/aa") == []


def test_a_result_that_is_published_after_the_plan_keeps_its_contents(store: ResultStore, tmp_path: Path) -> None:
    """The plan is shown to a person first; meanwhile another run may use the same contents."""
    publish(store, tmp_path, 1, "shared", days=40)
    plan = cleanup_plan(store, now=time.time(), older_than=30 * DAY)
    late = publish(store, tmp_path, 2, "shared", days=0)
    clean_up(store, plan)
    assert store.problem(late) is None


@given(sizes=st.lists(st.integers(0, 3000), min_size=1, max_size=5), limit=st.integers(0, 9000))
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_newest_results_that_fit_stay_whole(
    sizes: list[int], limit: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("sized")
    store = ResultStore(Aged(folder / "store"))
    names = [
        publish(store, folder, number, chr(97 + number) * size, days=number + 2) for number, size in enumerate(sizes)
    ]
    plan = cleanup_plan(store, now=time.time(), keep_bytes=limit)
    clean_up(store, plan)
    kept = [one.name for one in listed_results(store)]
    assert kept == names[: len(kept)], "the oldest are removed first"
    contents = sum(entry.size for entry in store.storage.objects("blobs"))
    assert contents == plan.kept <= limit
    assert [store.problem(name) for name in kept] == [None] * len(kept)
    if len(kept) < len(names):
        again = store.publish(key(len(kept)), folder / f"r{len(kept)}")
        assert again
        assert sum(entry.size for entry in store.storage.objects("blobs")) > limit


def test_the_contents_of_a_result_are_found_by_their_digests(store: ResultStore, tmp_path: Path) -> None:
    publish(store, tmp_path, 1, "x")
    for digest in Manifest.read(tmp_path / "r1", "evaluation").files.values():
        assert store.storage.read(blob_name(digest)) == b"x"
