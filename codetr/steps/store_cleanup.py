"""Remove stored results by age or size, and contents that no result refers to.

Removing is safe while others publish: a content that is younger than a day is kept, since its record may be about to
be written, and the records are read again before contents are removed. A publisher that found a content just before it
was removed leaves an incomplete result, which counts as not stored.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from codetr.core.errors import UserError
from codetr.steps.store import BLOBS, RESULTS, ResultStore, blob_name
from codetr.steps.stored_result import StoredResult
from codetr.storage.storage import NoObjectError

DAY = 24 * 3600.0
UNFINISHED = DAY
"""Seconds for which a content without a result may be one that is being published."""


@dataclass(frozen=True)
class Listed:
    """A stored result with what the storage says about it.

    Attributes:
        name: of its record.
        modified: when it was stored, in seconds since 1970.
        result: None if the record is damaged.
    """

    name: str
    modified: float
    result: StoredResult | None


@dataclass(frozen=True)
class Plan:
    """What is to be removed.

    Attributes:
        results: records, with the reason.
        contents: size in bytes by name.
        kept: bytes of the contents that stay.
    """

    results: list[tuple[Listed, str]] = field(default_factory=list)
    contents: dict[str, int] = field(default_factory=dict)
    kept: int = 0

    @property
    def freed(self) -> int:
        """Bytes of the contents that are removed."""
        return sum(self.contents.values())


def listed_results(store: ResultStore) -> list[Listed]:
    """Return all results, the newest first.

    Raises:
        UserError, RunFailed: the store cannot be read.
    """
    store.require()
    found = []
    for entry in store.storage.objects(RESULTS):
        if not entry.key.endswith(".json"):
            continue
        try:
            result: StoredResult | None = store.read(entry.key)
        except NoObjectError:  # removed in between
            continue
        except UserError:
            result = None
        found.append(Listed(entry.key, entry.modified, result))
    return sorted(found, key=lambda one: (-one.modified, one.name))


def cleanup_plan(
    store: ResultStore, *, now: float, older_than: float | None = None, keep_bytes: int | None = None
) -> Plan:
    """Return what is to be removed.

    Args:
        store: the store.
        now: the time, in seconds since 1970.
        older_than: seconds; results that were stored earlier are removed.
        keep_bytes: the oldest results are removed until the contents of the others have at most as many bytes.

    Raises:
        UserError, RunFailed: the store cannot be read.
    """
    removed: list[tuple[Listed, str]] = []
    sizes: dict[str, int] = {}
    full = False
    for one in listed_results(store):
        reason = _reason(one, now - older_than if older_than is not None else None)
        added = {} if reason or one.result is None else _contents([one])
        # A content that several results share counts once.
        if reason is None and keep_bytes is not None:
            full = full or sum({**sizes, **added}.values()) > keep_bytes
            reason = "over the size" if full else None
        if reason is None:
            sizes |= added
        else:
            removed.append((one, reason))
    contents = {
        entry.key: entry.size
        for entry in store.storage.objects(BLOBS)
        if entry.key not in sizes and entry.modified < now - UNFINISHED
    }
    return Plan(removed, contents, sum(sizes.values()))


def clean_up(store: ResultStore, plan: Plan) -> None:
    """Remove what a plan says: records first, so that no result is left incomplete.

    Raises:
        UserError: something may not be removed.
        RunFailed: the store does not answer.
    """
    for one, _ in plan.results:
        store.storage.delete(one.name)
    used = _contents(listed_results(store))
    for name in plan.contents:
        if name not in used:
            store.storage.delete(name)


def _reason(one: Listed, before: float | None) -> str | None:
    if one.result is None:
        return "damaged"
    return "too old" if before is not None and one.modified < before else None


def _contents(results: Iterable[Listed]) -> dict[str, int]:
    """Return the size of each content of some results, by its name in the storage."""
    return {
        blob_name(file.digest): file.size
        for one in results
        if one.result is not None
        for file in one.result.files.values()
    }
