"""What the registry and the store of results need of a storage: objects by key, which are created once.

Two implementations: a folder, which may be on a shared file system, and an S3-compatible bucket.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from codetr.core.errors import UserError


class NoObjectError(UserError):
    """There is no such object."""


@dataclass(frozen=True)
class StoredObject:
    """An object in a storage.

    Attributes:
        key: its key.
        size: in bytes.
        modified: when it was written, in seconds since 1970.
    """

    key: str
    size: int
    modified: float


class Storage(Protocol):
    """Objects by key; keys are relative paths such as "journal/000001.json".

    An object appears with its whole content or not at all. Every method raises `UserError` for a storage that cannot be
    used, because of settings or permissions, and `RunFailed` for one that fails or does not answer. Thread-safe.
    """

    def create(self, key: str, content: bytes) -> bool:
        """Create an object with its content, unless it exists.

        Returns:
            Whether this call created it; of concurrent calls exactly one does.
        """

    def upload(self, key: str, file: Path) -> bool:
        """Create an object with the content of a file of any size, unless it exists; see `create`."""

    def read(self, key: str) -> bytes:
        """Return the content of a small object.

        Raises:
            NoObjectError: it does not exist.
        """

    def download(self, key: str, file: Path) -> None:
        """Copy an object into a new file, with the folders above it.

        Raises:
            NoObjectError: it does not exist.
        """

    def names(self, prefix: str) -> list[str]:
        """Return the sorted names of the objects and folders directly below `prefix`."""

    def objects(self, prefix: str) -> Iterator[StoredObject]:
        """Yield all objects below `prefix`, in the order of their keys."""

    def delete(self, key: str) -> None:
        """Remove an object, if it exists."""
