"""`manifest.json`: the files of a step's folder, and the inputs, the configuration and the code that produced them.

Every step writes one to its output folder. Lineage follows the digests in `inputs`, which are those of the manifests of
the inputs. A manifest holds nothing that changes from run to run (no time, no host, no path), so the same inputs,
settings and code give the same digest.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from pydantic import Field, field_validator

from codetr.core.errors import UserError
from codetr.core.files import read_json, require_replaceable, sha256_file, sha256_json, write_json
from codetr.core.settings import Settings

NAME = "manifest.json"

ORIGIN = "origin.json"
"""Where a result came from that was not computed here. It is not listed in the manifest: the result is the same."""

FolderKind = Literal["dataset", "model", "evaluation", "registration"]

WRITTEN_BY: dict[FolderKind, str] = {
    "dataset": "Prepare it first: codetr prepare --train {path} … --output FOLDER.",
    "model": "`codetr train` writes one, and `codetr convert` makes one of an official checkpoint.",
    "evaluation": "`codetr evaluate` writes one.",
    "registration": "`codetr register` writes one.",
}
"""What to do if there is no such folder; `{path}` is the file that was given instead."""


class Manifest(Settings):
    """The content of a `manifest.json`.

    Attributes:
        kind: kind of the folder.
        files: relative path → digest, of every file that belongs to the result.
        inputs: name → digest of the input's manifest, or of the file for raw inputs.
        config: the step's settings.
        code: which code wrote it, see `codetr.core.code_version.code_version`.
        summary: the main figures (counts, metrics).
    """

    kind: FolderKind
    files: dict[str, str]
    inputs: dict[str, str] = Field(default_factory=dict)
    config: dict[str, Any] = Field(default_factory=dict)
    code: dict[str, str] = Field(default_factory=dict)
    summary: dict[str, Any] = Field(default_factory=dict)

    @field_validator("files")
    @classmethod
    def _names_stay_inside(cls, files: dict[str, str]) -> dict[str, str]:
        require_names_inside(files)
        return files

    @property
    def digest(self) -> str:
        """SHA-256 of the manifest in canonical form; identifies the folder."""
        return sha256_json(self.model_dump(mode="json"))

    @classmethod
    def of(cls, folder: Path, kind: FolderKind, *, exclude: tuple[str, ...] = (), **fields: Any) -> Manifest:
        """Describe a folder: the digest of every file except the manifest and the top-level names in `exclude`."""
        files = {
            path.relative_to(folder).as_posix(): sha256_file(path)
            for path in sorted(folder.rglob("*"))
            if path.is_file() and path.relative_to(folder).parts[0] not in (NAME, *exclude)
        }
        return cls(kind=kind, files=files, **fields)

    def write(self, folder: Path) -> None:
        """Write `manifest.json` to `folder`."""
        write_json(folder / NAME, self.model_dump(mode="json"))

    @classmethod
    def read(cls, folder: Path, kind: FolderKind, *, verify: bool = False) -> Manifest:
        """Read a folder's manifest.

        Args:
            folder: a step's output.
            kind: what the folder is expected to be.
            verify: also digest every listed file and compare.

        Raises:
            UserError: no manifest, one of another kind, or (with `verify`) a missing or changed file.
        """
        path = folder / NAME
        if folder.is_file():
            hint = WRITTEN_BY[kind].format(path=folder)
            raise UserError(f"is a file, expected a folder of kind '{kind}'", where=str(folder), hint=hint)
        if not folder.is_dir():
            raise UserError("there is no such folder", where=str(folder), hint=WRITTEN_BY[kind].format(path="FILE"))
        if not path.is_file():
            problem = f"holds no {NAME}, so it is no finished folder of kind '{kind}'"
            raise UserError(problem, where=str(folder), hint=WRITTEN_BY[kind].format(path="FILE"))
        values = read_json(path)
        if not isinstance(values, dict):
            raise UserError("is not a manifest", where=str(path))
        manifest = cls.parse(values, where=str(path))
        if manifest.kind != kind:
            raise UserError(f"is a folder of kind '{manifest.kind}', expected '{kind}'", where=str(folder))
        if verify:
            manifest.verify(folder)
        return manifest

    def verify(self, folder: Path) -> None:
        """Raise `UserError` for the first listed file that is missing or differs from its digest. Follow links."""
        for name, digest in self.files.items():
            file = folder / name
            if not file.is_file():
                raise UserError("is listed in the manifest but missing", where=str(file))
            if sha256_file(file) != digest:
                hint = "The file changed after it was written; run the step that wrote it again."
                raise UserError("differs from the digest in the manifest", where=str(file), hint=hint)


def require_names_inside(names: Iterable[str]) -> None:
    """Raise `ValueError` for the first name of a file that leads out of its folder.

    Names are checked as names: a file may be a link to anywhere, since its content has to have the listed digest.
    """
    for name in names:
        parts = PurePosixPath(name).parts
        if not parts or "\0" in name or ".." in parts or name.startswith("/"):
            raise ValueError(f"lists '{name}', which is outside the folder")


def require_output(folder: Path, kind: FolderKind, *, unlisted: Sequence[str] = ()) -> None:
    """Raise `UserError` unless a step may write `folder`: it is missing, empty, or what the same step wrote before.

    Args:
        folder: the output.
        kind: of the step's output.
        unlisted: names of what the step writes without listing it in the manifest.
    """

    def names(path: Path) -> set[str] | None:
        try:
            manifest = Manifest.read(path, kind)
        except UserError:
            return None
        # Hidden files are those that systems leave, such as .DS_Store.
        hidden = {entry.name for entry in path.iterdir() if entry.name[0] == "."}
        return {NAME, ORIGIN, *unlisted, *hidden, *(name.split("/")[0] for name in manifest.files)}

    require_replaceable(folder, kind, names)
