"""The store of results, one cache for all engines: a step asks it before it works, and publishes its result after.

    store.json                     marks the folder as a store, with the version of the format
    blobs/<digest>                 the content of a file, by its SHA-256
    results/<kind>/<key>.json      a result: the digest of each of its files, and what it was made from
    results/dataset/<group>/<key>.json    the same for datasets, see `codetr.steps.prepare`

A result appears with its record, which is created last and once: of several publishers the first one's result is kept.
Contents are checked against their digests when they are read. What is damaged or incomplete is removed and counts as
not stored, so the step works again and publishes the result again.
"""

from __future__ import annotations

import json
import logging
import os
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from codetr.core.errors import ReportedError, RunFailed, UserError
from codetr.core.files import atomic_directory, sha256_file, write_json
from codetr.core.manifest import NAME, ORIGIN, FolderKind, Manifest
from codetr.core.provenance import user_and_host, utc_now
from codetr.core.system.temporaries import remove
from codetr.steps.result_key import ResultKey
from codetr.steps.stored_result import StoredFile, StoredResult
from codetr.storage.open_storage import open_storage
from codetr.storage.s3_client import StorageError
from codetr.storage.storage import NoObjectError, Storage

logger = logging.getLogger(__name__)

MARKER, RESULTS, BLOBS = "store.json", "results", "blobs"

STORE_VARIABLE = "CODETR_STORE"
"""Environment variable with the address of the store."""

FORMAT = 1
_THREADS = 8


class _DamagedError(Exception):
    """A result cannot be used; the message says what is wrong with it."""

    def __init__(self, problem: str, *objects: str) -> None:
        super().__init__(problem)
        self.objects = objects


class ResultStore:
    """Results in a storage."""

    def __init__(self, storage: Storage) -> None:
        self.storage = storage

    @classmethod
    def open(cls, address: str) -> ResultStore:
        """Open the store at an address: a folder, or s3://BUCKET/PREFIX. It need not exist yet.

        Raises:
            UserError: it is no such address.
        """
        return cls(open_storage(address))

    def __str__(self) -> str:
        return str(self.storage)

    # -- asking -----------------------------------------------------------------------------------------------

    def restore(self, key: ResultKey, output: Path) -> StoredResult | None:
        """Write the stored result of a key to `output`, atomically; return its record, None if there is none.

        Raises:
            UserError: the store cannot be used: its address, credentials or permissions are wrong, or there is
                something else.
            OSError: `output` cannot be written.
        """
        name = record_name(key)
        if not self._has(name):
            return None
        try:
            with atomic_directory(output) as folder:
                stored = self.fetch(key, folder)
                if stored is None:
                    raise _MissedError
        except _MissedError:
            return None
        log_hit(output, stored)
        return stored

    def fetch(self, key: ResultKey, folder: Path, *, group: str | None = None) -> StoredResult | None:
        """Add the files of the stored result of a key to a folder, all or none; return its record, None for none.

        Args:
            key: of the result.
            folder: an existing folder.
            group: see `record_name`.

        Raises:
            UserError, OSError: see `restore`.
        """
        name = record_name(key, group=group)
        work = Path(tempfile.mkdtemp(dir=folder))
        try:
            stored = self._record(name)
            self._fetch_files(stored, work)
            origin = {"store": str(self), "key": key.digest, "at": stored.at, "by": stored.by, "run": stored.run}
            write_json(work / ORIGIN, {**origin, "tracking": stored.tracking})
            for entry in work.iterdir():
                entry.rename(folder / entry.name)
            return stored
        except NoObjectError:
            return None
        except _DamagedError as error:
            logger.warning("%s: the stored result %s %s; it is computed again", self, name, error)
            self._discard(name, *error.objects)
            return None
        except RunFailed as error:
            logger.warning("the store does not answer, so the result is computed: %s", error)
            return None
        finally:
            remove(work)

    def has_group(self, kind: FolderKind, group: str) -> bool:
        """Return whether a group has a result; False, with a warning, if the store does not answer.

        Raises:
            UserError: see `restore`.
        """
        try:
            return self._is_there() and bool(self.storage.names(f"{RESULTS}/{kind}/{_hex(group)}"))
        except RunFailed as error:
            logger.warning("the store does not answer, so the result is computed: %s", error)
            return False

    # -- publishing -------------------------------------------------------------------------------------------

    def publish(self, key: ResultKey, folder: Path, *, group: str | None = None, tracking: str | None = None) -> bool:
        """Store a finished folder as the result of a key, unless one is stored; return whether this call stored it.

        A store that cannot be written is no failure of the step, which has its result: it is a warning.

        Args:
            key: of the result.
            folder: written by the step.
            group: see `record_name`.
            tracking: where W&B shows the run.
        """
        name = record_name(key, group=group)
        try:
            if self._has(name):
                return False
            self.storage.create(MARKER, json.dumps({"format": FORMAT}).encode())
            manifest = Manifest.read(folder, key.kind, verify=True)
            digests = {NAME: sha256_file(folder / NAME), **manifest.files}
            files = {
                file: StoredFile(digest=digest, size=(folder / file).stat().st_size) for file, digest in digests.items()
            }
            with ThreadPoolExecutor(_THREADS) as pool:
                list(pool.map(lambda file: self.storage.upload(blob_name(digests[file]), folder / file), files))
            record = StoredResult(
                kind=key.kind,
                key=key.to_json(),
                manifest=manifest.digest,
                files=files,
                at=utc_now(),
                by=user_and_host(),
                run=os.environ.get("CODETR_RUN") or None,
                tracking=tracking,
            )
            created = self.storage.create(name, record.model_dump_json(indent=2).encode() + b"\n")
        except (ReportedError, OSError) as error:
            logger.warning("the result in %s is not stored: %s", folder, error)
            return False
        if not created:
            logger.info("another run has stored its result for the same inputs: %s is not stored", folder)
            return False
        logger.info("stored %s in %s, key %s", folder, self, _hex(key.digest)[:12])
        return True

    # -- looking and removing ---------------------------------------------------------------------------------

    def require(self) -> None:
        """Require that there is a store: what is not one is not cleaned up.

        Raises:
            UserError: there is none, or it cannot be read.
            RunFailed: it does not answer.
        """
        if not self._is_there():
            hint = "A step that is given this address creates it: `codetr train --store`."
            raise UserError("there is no store of results", where=str(self), hint=hint)

    def names(self) -> Iterator[str]:
        """Yield the name of every record.

        Raises:
            UserError, RunFailed: see `require`.
        """
        self.require()
        return (entry.key for entry in self.storage.objects(RESULTS) if entry.key.endswith(".json"))

    def read(self, name: str) -> StoredResult:
        """Return the record of a name.

        Raises:
            NoObjectError: there is none.
            UserError: it is damaged, or written by a later release.
            RunFailed: the store does not answer.
        """
        try:
            return self._record(name)
        except _DamagedError as error:
            raise UserError(str(error), where=f"{self}/{name}") from None

    def problem(self, name: str) -> str | None:
        """Return what is wrong with a stored result, whose files are all read; None if nothing is.

        Raises:
            UserError, RunFailed: the store cannot be read.
        """
        with tempfile.TemporaryDirectory() as folder:
            try:
                self._fetch_files(self._record(name), Path(folder))
            except _DamagedError as error:
                return str(error)
        return None

    def _is_there(self) -> bool:
        """Return whether the store exists.

        Raises:
            UserError: there is something else, or a store of a later release.
            RunFailed: it does not answer.
        """
        try:
            marker = json.loads(self.storage.read(MARKER))
        except NoObjectError:
            if found := [name for name in self.storage.names("") if name != "lost+found"]:
                hint = "Give an empty folder or prefix, or one that does not exist."
                raise UserError(f"holds '{found[0]}' and is no store", where=str(self), hint=hint) from None
            return False
        except (ValueError, RecursionError):
            marker = None
        if marker != {"format": FORMAT}:
            hint = "It was written by another release of codetr; use that release, or another store."
            raise UserError(f"{MARKER} does not describe a store of this version", where=str(self), hint=hint)
        return True

    def _has(self, name: str) -> bool:
        try:
            if not self._is_there():
                return False
            self.storage.read(name)
        except NoObjectError:
            return False
        except RunFailed as error:
            logger.warning("the store does not answer: %s", error)
            return False
        return True

    def _record(self, name: str) -> StoredResult:
        content = self.storage.read(name)
        try:
            values = json.loads(content)
            if not isinstance(values, dict):
                raise ValueError
            return StoredResult.parse(values)
        except UserError as error:
            raise _DamagedError(f"has an unusable record: {error.problem}") from None
        except (ValueError, RecursionError):
            raise _DamagedError("has a record that is not JSON") from None

    def _fetch_files(self, stored: StoredResult, folder: Path) -> None:
        """Download the files of a result into an empty folder, and compare their digests."""

        def fetch(name: str) -> None:
            file = stored.files[name]
            blob = blob_name(file.digest)
            try:
                self.storage.download(blob, folder / name)
            except NoObjectError:
                raise _DamagedError(f"lacks the content of {name}") from None
            except StorageError:
                raise
            except UserError as error:
                raise _DamagedError(f"has a content of {name} that {error.problem}", blob) from None
            if sha256_file(folder / name) != file.digest:
                raise _DamagedError(f"has another content of {name} than was stored", blob)

        with ThreadPoolExecutor(_THREADS) as pool:
            # In this order, so that one of two damaged files is reported, and always the same.
            list(pool.map(fetch, sorted(stored.files)))
        try:
            manifest = Manifest.read(folder, stored.kind)
        except UserError as error:
            raise _DamagedError(f"has an unusable manifest: {error.problem}") from None
        listed = {name: file.digest for name, file in stored.files.items() if name != NAME}
        if manifest.digest != stored.manifest or manifest.files != listed:
            raise _DamagedError("has a manifest of another result")

    def _discard(self, *objects: str) -> None:
        """Remove damaged objects, so that they can be stored again; who may not write leaves them."""
        for name in objects:
            with suppress(ReportedError):
                self.storage.delete(name)


class _MissedError(Exception):
    """There is no stored result, so a new folder is not kept."""


def chosen_store(address: str | None) -> ResultStore | None:
    """Return the store at an address, None for that of the environment; None if there is none.

    Args:
        address: a folder or s3://BUCKET/PREFIX; empty for no store, whatever the environment says.

    Raises:
        UserError: it is no such address.
    """
    chosen = os.environ.get(STORE_VARIABLE, "") if address is None else address
    return ResultStore.open(chosen) if chosen.strip() else None


def record_name(key: ResultKey, *, group: str | None = None) -> str:
    """Return the name of a result's record.

    Args:
        key: of the result.
        group: digest of a part of the key; results of a group can be looked for without the rest of it.
    """
    return "/".join([RESULTS, key.kind, *([_hex(group)] if group else []), f"{_hex(key.digest)}.json"])


def blob_name(digest: str) -> str:
    """Return the name of a file's content; a folder for each first byte keeps folders small."""
    return f"{BLOBS}/{_hex(digest)[:2]}/{_hex(digest)}"


def log_hit(output: Path, stored: StoredResult) -> None:
    """Say that a stored result was used."""
    logger.info("%s is the stored result %s; nothing was computed", output, stored.source)


def _hex(digest: str) -> str:
    return digest.removeprefix("sha256:")
