"""Addresses of models: a folder, or a version in a registry as REGISTRY@VERSION."""

from __future__ import annotations

from pathlib import Path

from codetr.core.errors import UserError
from codetr.registry.store import MARKER, Registry


def model_folder(address: str) -> Path:
    """Return the folder of a model.

    Args:
        address: a model folder, or a registry's folder, "@" and a version: its name ("v3"), an alias ("champion",
            "previous") or the first digits of its digest.

    Raises:
        UserError: there is no such registry or version, or its files were changed; or the folder is a registry.
            Whether another folder exists and holds a model is for its reader to check.
    """
    path = Path(address)
    root, at, version = address.rpartition("@")
    if path.exists() or not at:
        if (path / MARKER).is_file():
            root = address.rstrip("/")
            hint = f"Name a version of it, e.g. {root}@champion; `codetr registry list {root}` lists them."
            raise UserError("is a registry, not a model", where=address, hint=hint)
        return path

    registry = Registry.open(Path(root))
    return registry.folder(registry.version(version), "model")
