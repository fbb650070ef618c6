"""Return what identifies the code of a step: versions and a digest of the sources."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from codetr.core.files import sha256_file, sha256_json
from codetr.core.version import __version__


def code_version() -> dict[str, str]:
    """Versions that decide what a step computes."""
    import torch

    return {"codetr": __version__, "torch": torch.__version__, "python": platform.python_version()}


PACKAGE = Path(__file__).parents[1]
"""Where the sources of codetr are."""


def running_code() -> dict[str, str | None]:
    """What decides, beside model, data and settings, what is detected.

    The version of codetr is not enough: what an editable installation runs may change between two runs.
    """
    sources = {path.relative_to(PACKAGE).as_posix(): sha256_file(path) for path in PACKAGE.rglob("*.py")}
    versions = {name: _version(name) for name in ("numpy", "pillow", "pycocotools", "timm", "torchvision")}
    return {**code_version(), **versions, "sources": sha256_json(sources)}


def _version(package: str) -> str | None:
    """None if it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None
