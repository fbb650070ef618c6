"""The record of a result in the store: its files, and who computed it from what."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator

from codetr.core.manifest import NAME, FolderKind, require_names_inside
from codetr.core.settings import Settings


class StoredFile(Settings):
    """A file of a result.

    Attributes:
        digest: of its content, as `sha256:<hex>`.
        size: in bytes.
    """

    digest: str = Field(pattern=r"^sha256:[0-9a-f]{64}$")
    size: int = Field(ge=0)


class StoredResult(Settings):
    """The record of a result.

    Attributes:
        format: of the record; one of a later release is not read.
        kind: of the folder.
        key: what decides the result, see `ResultKey`.
        manifest: digest of the manifest.
        files: by relative path; the manifest is one of them.
        at: when it was published; UTC, ISO 8601.
        by: user and machine.
        run: name of the run that computed it; None if it had none.
        tracking: where W&B shows that run; None if it does not.
    """

    format: Literal[1] = 1
    kind: FolderKind
    key: dict[str, Any]
    manifest: str
    files: dict[str, StoredFile]
    at: str
    by: str
    run: str | None = None
    tracking: str | None = None

    @field_validator("files")
    @classmethod
    def _names_stay_inside(cls, files: dict[str, StoredFile]) -> dict[str, StoredFile]:
        require_names_inside(files)
        if NAME not in files:
            raise ValueError(f"lists no {NAME}")
        return files

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files.values())

    @property
    def source(self) -> str:
        """Who computed it and when, for messages."""
        run = f", run {self.run}" if self.run else ""
        tracking = f", {self.tracking}" if self.tracking else ""
        return f"computed by {self.by}, {self.at}{run}{tracking}"
