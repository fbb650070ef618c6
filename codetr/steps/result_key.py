"""The address of a result: the digest of everything that decides it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from codetr.core.code_version import code_version, library_versions
from codetr.core.files import sha256_json
from codetr.core.manifest import FolderKind

FORMAT = 1
"""Part of every key: raised when results of earlier releases must not be found any more."""


@dataclass(frozen=True)
class ResultKey:
    """What decides a result. Two runs of a step with equal keys have interchangeable results.

    Attributes:
        kind: of the result.
        inputs: digests of the contents that are read, by name; never paths.
        settings: those that change the result, as JSON values.
        code: of the step, see `codetr.core.code_version.code_version`.
        libraries: versions by name.
        device: type of the device that computes, e.g. "cuda"; None if the result does not depend on it.
    """

    kind: FolderKind
    inputs: Mapping[str, Any]
    settings: Mapping[str, Any]
    code: Mapping[str, str]
    libraries: Mapping[str, str | None]
    device: str | None = None

    @classmethod
    def of_step(
        cls,
        kind: FolderKind,
        module: str,
        *,
        inputs: Mapping[str, Any],
        settings: Mapping[str, Any],
        device: str | None = None,
    ) -> ResultKey:
        """Return the key of a step that runs here.

        Args:
            kind: of the result.
            module: dotted name of the step's module; everything it imports is part of the key.
            inputs: see `ResultKey`, also for the next two.
            settings: as JSON values.
            device: type of the device.
        """
        return cls(kind, inputs, settings, code_version(module), library_versions(), device)

    def to_json(self) -> dict[str, Any]:
        """Return the key as JSON values."""
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return {"format": FORMAT, **{name: dict(v) if isinstance(v, Mapping) else v for name, v in values.items()}}

    @property
    def digest(self) -> str:
        """SHA-256 of the key, as `sha256:<hex>`."""
        return sha256_json(self.to_json())
