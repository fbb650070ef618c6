"""The model registry: immutable versions, the aliases `champion` and `previous`, and the journal of their moves.

    registry.json           marks the folder as a registry, with the version of the format
    content/<digest>/       model/ and evaluation/ of a version, by the digest of both; immutable
    versions/000003.json    the version v3
    journal/000007.json     a change of the aliases, or a refusal, and the aliases after it

Two rules make concurrent writers safe without locks. A record is created only if its name does not exist (exactly one
of several writers succeeds), and a new name is the number after those that were read. So a version's number is
assigned once, and a change of an alias is a compare-and-swap: it writes the entry after the newest one it has read, and
if another process has written that entry, it reads the journal again.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Literal, TypeVar

from codetr.core.errors import UserError
from codetr.core.files import sha256_json
from codetr.core.manifest import NAME, Manifest
from codetr.core.provenance import user_and_host, utc_now
from codetr.core.settings import Settings
from codetr.registry.gate import Verdict
from codetr.registry.versions_and_journal import Aliases, JournalAction, JournalEntry, Version
from codetr.storage.folder import FolderStorage

T = TypeVar("T", bound=Settings)

MARKER = "registry.json"
_RECORD = re.compile(r"\d{6,}\.json")
FORMAT = 1


class AliasesMovedError(Exception):
    """Another process moved the aliases after they were read; read them again and repeat the decision."""


class Registry:
    """A registry in a folder."""

    def __init__(self, storage: FolderStorage) -> None:
        self.storage = storage

    @staticmethod
    def exists(root: Path) -> bool:
        """Return whether there is something at `root`: a registry or another folder with content."""
        return bool(_content_names(FolderStorage(root)))

    @classmethod
    def open(cls, root: Path, *, create: bool = False) -> Registry:
        """Open the registry at `root`; with `create`, create one if the folder is missing or empty.

        Raises:
            UserError: there is no registry, the folder holds something else, or its format is of a later release.
        """
        storage = FolderStorage(root)
        found = _content_names(storage)
        if MARKER not in found:
            if found or not create:
                problem = "is not a registry" if found else "there is no registry"
                hint = "`codetr register` creates one, in a folder that is empty or does not exist."
                raise UserError(problem, where=str(root), hint=hint)
            storage.create(MARKER, json.dumps({"format": FORMAT}).encode())
        marker = _parse_json(storage, MARKER)
        if marker.get("format") != FORMAT:
            hint = "It was written by another release of codetr; use that release, or a later one."
            raise UserError(f"has format {marker.get('format')!r}, expected {FORMAT}", where=str(root), hint=hint)
        return cls(storage)

    # -- versions ---------------------------------------------------------------------------------------------

    def versions(self) -> list[Version]:
        """Return every version, oldest first."""
        return [self._record("versions", name, Version) for name in self._names("versions")]

    def version(self, name: str) -> Version:
        """Return the version of a name ("v3"), an alias ("champion") or the first six or more digits of its digest.

        Raises:
            UserError: there is no such version, or the digits fit several.
        """
        versions = self.versions()
        aliases = self.aliases().model_dump()
        if name in aliases:
            if aliases[name] is None:
                raise UserError(f"no version is '{name}'", where=str(self.storage))
            name = aliases[name]
        found = [version for version in versions if version.name == name]
        digits = name.removeprefix("sha256:")
        if not found and len(digits) >= 6:
            found = [version for version in versions if version.digest.removeprefix("sha256:").startswith(digits)]
        if len(found) == 1:
            return found[0]
        names = ", ".join(version.name for version in found or versions) or "none"
        problem = f"'{name}' fits several versions" if found else f"there is no version '{name}'"
        raise UserError(problem, where=str(self.storage), hint=f"Versions: {names}.")

    def add(self, model: Path, evaluation: Path) -> Version:
        """Copy a model folder and its evaluation folder into the registry as a version.

        The same content is the same version, also when several processes add it at once.

        Raises:
            UserError: a file differs from its manifest, or the registry cannot be written.
        """
        manifests = {"model": Manifest.read(model, "model"), "evaluation": Manifest.read(evaluation, "evaluation")}
        digests = {kind: manifest.digest for kind, manifest in manifests.items()}
        digest = sha256_json(digests)
        self._add_content(digest, {"model": model, "evaluation": evaluation}, manifests)
        while True:
            versions = self.versions()
            for version in versions:
                if version.digest == digest:
                    return version
            version = Version(number=len(versions) + 1, digest=digest, **digests, at=utc_now(), by=user_and_host())
            # Only the number after those just read: the first process creates it; the others read again, and find
            # either their content registered or the next number free.
            if self._create("versions", version.number, version):
                return version

    def folder(self, version: Version, kind: Literal["model", "evaluation"], *, verify: bool = True) -> Path:
        """Return the folder of a version's model or evaluation, checked against its manifest.

        Raises:
            UserError: the content is missing or has changed.
        """
        folder = self.storage.folder(_content(version.digest)) / kind
        manifest = Manifest.read(folder, kind, verify=verify)
        expected = version.model if kind == "model" else version.evaluation
        if manifest.digest != expected:
            raise UserError(f"is not the {kind} that was registered as {version.name}", where=str(folder))
        return folder

    def _add_content(self, digest: str, folders: dict[str, Path], manifests: dict[str, Manifest]) -> None:
        files = {}
        for kind, manifest in manifests.items():
            # Checks every digest, and that no listed name points outside the folder.
            manifest.verify(folders[kind])
            for name in (NAME, *manifest.files):
                files[f"{kind}/{name}"] = folders[kind] / name
        self.storage.add_folder(_content(digest), files)
        copy = self.storage.folder(_content(digest))
        for kind, manifest in manifests.items():
            # The originals may have changed between the check and the copy.
            if Manifest.read(copy / kind, manifest.kind, verify=True).digest != manifest.digest:
                raise UserError("does not match its digest", where=str(copy / kind))

    # -- aliases ----------------------------------------------------------------------------------------------

    def journal(self) -> list[JournalEntry]:
        """Return every entry, oldest first."""
        return [self._record("journal", name, JournalEntry) for name in self._names("journal")]

    def latest(self) -> JournalEntry | None:
        """Return the newest entry of the journal; None if there is none."""
        names = self._names("journal")
        return self._record("journal", names[-1], JournalEntry) if names else None

    def aliases(self) -> Aliases:
        """Return the versions that the aliases name."""
        entry = self.latest()
        return entry.after if entry else Aliases()

    def record(
        self,
        action: JournalAction,
        version: Version,
        why: str,
        *,
        seen: JournalEntry | None,
        verdict: Verdict | None = None,
    ) -> JournalEntry:
        """Write the journal's next entry; unless it is a refusal, it moves the aliases.

        Args:
            action: all but "refuse" make `version` the champion, and the champion `previous`.
            version: the version it is about.
            why: the reason, for people.
            seen: the newest entry when the decision was made.
            verdict: the gate's verdict; None if a person decided.

        Raises:
            AliasesMovedError: there is an entry after `seen`.
        """
        before = seen.after if seen else Aliases()
        after = before if action == "refuse" else Aliases(champion=version.name, previous=before.champion)
        serial = seen.serial + 1 if seen else 1
        entry = JournalEntry(
            serial=serial,
            action=action,
            version=version.name,
            before=before,
            after=after,
            why=why,
            verdict=verdict,
            at=utc_now(),
            by=user_and_host(),
        )
        if not self._create("journal", serial, entry):
            raise AliasesMovedError
        return entry

    def rollback(self, to: str | None = None, *, why: str) -> JournalEntry:
        """Make the previous champion, or the version `to`, champion again.

        The champion becomes `previous`, so a second rollback undoes the first. The gate never promotes a version again
        that was rolled back from.

        Args:
            to: a version as `version` finds it; None for the previous champion.
            why: the reason, for people.

        Raises:
            UserError: there is nothing to roll back to, no reason is given, the version is already the champion, or
                its content is damaged.
        """
        if not why.strip():
            raise UserError("the reason is empty", hint="Give a reason: the journal keeps it.")
        while True:
            seen = self.latest()
            aliases = seen.after if seen else Aliases()
            target = to or aliases.previous
            if target is None:
                hint = "Name a version with `--to`: `codetr registry list` shows them."
                raise UserError("there is no previous champion", where=str(self.storage), hint=hint)
            version = self.version(target)
            if version.name == aliases.champion:
                raise UserError(f"{version.name} is already the champion", where=str(self.storage))
            self.folder(version, "model")
            try:
                return self.record("rollback", version, why, seen=seen)
            except AliasesMovedError:
                if to is None:
                    # The rollback was meant for the champion that was read, not for a newer one.
                    problem = "another process moved the aliases at the same time"
                    hint = "Check `codetr registry list`, then decide again."
                    raise UserError(problem, where=str(self.storage), hint=hint) from None

    # -- records ----------------------------------------------------------------------------------------------

    def _create(self, kind: str, number: int, record: Settings) -> bool:
        return self.storage.create(f"{kind}/{_record_name(number)}", record.model_dump_json(indent=2).encode() + b"\n")

    def _names(self, kind: Literal["versions", "journal"]) -> list[str]:
        """Return the names of the records of a kind, in order.

        Raises:
            UserError: records are missing, or something else is among them. The next number would be a wrong one.
        """
        names = self.storage.names(kind)
        for number, name in enumerate(names, start=1):
            if name != _record_name(number):
                known = {_record_name(number) for number in range(1, len(names) + 1)}
                if foreign := [other for other in names if other not in known and not _RECORD.fullmatch(other)]:
                    problem, hint = f"holds '{foreign[0]}', which is no record", "Move it elsewhere."
                else:
                    problem = f"the record {_record_name(number)} is missing"
                    hint = "Records are never removed: restore it from a backup."
                raise UserError(problem, where=f"{self.storage}/{kind}", hint=hint)
        return names

    def _record(self, kind: str, name: str, into: type[T]) -> T:
        key = f"{kind}/{name}"
        record = into.parse(_parse_json(self.storage, key), where=f"{self.storage}/{key}")
        number = record.number if isinstance(record, Version) else getattr(record, "serial", None)
        if number is None or name != _record_name(number):
            raise UserError(f"contains number {number}", where=f"{self.storage}/{key}")
        return record


def _content_names(storage: FolderStorage) -> list[str]:
    # A newly formatted volume has a folder lost+found.
    return [name for name in storage.names("") if name != "lost+found"]


def _record_name(number: int) -> str:
    return f"{number:06}.json"


def _content(digest: str) -> str:
    return f"content/{digest.removeprefix('sha256:')}"


def _parse_json(storage: FolderStorage, key: str) -> dict[str, Any]:
    try:
        value = json.loads(storage.read(key))
    except (ValueError, RecursionError):
        raise UserError("is not valid JSON", where=f"{storage}/{key}") from None
    if not isinstance(value, dict):
        raise UserError("is not a record of a registry", where=f"{storage}/{key}")
    return value
