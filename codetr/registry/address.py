"""Addresses of models: a folder, or a version in a registry as REGISTRY@VERSION."""

from __future__ import annotations

from pathlib import Path


def model_folder(address: str) -> Path:
    """Return the folder of a model.

    Args:
        address: a model folder, or a registry's folder, "@" and a version: its name ("v3"), an alias ("champion",
            "previous") or the first digits of its digest.

    Raises:
        UserError: there is no such registry or version, or its files were changed. Whether a folder
            holds a model is for its reader to check.
    """
    path = Path(address)
    root, at, version = address.rpartition("@")
    if not at or path.exists():
        return path
    from codetr.registry.store import Registry

    registry = Registry.open(Path(root))
    return registry.folder(registry.version(version), "model")
