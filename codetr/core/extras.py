"""Optional dependencies: the command that installs an extra into the environment that runs."""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

from codetr.core.code_version import PACKAGE

CONSTRAINTS = Path("requirements/constraints.txt")


def install_hint(extra: str, *, package: Path = PACKAGE) -> str:
    """Return a sentence with the command that installs an extra.

    In a checkout of the repository it keeps an editable installation, at the tested versions. Elsewhere it names the
    packages themselves: the extra of a package called codetr could be anyone's.

    Args:
        extra: its name in pyproject.toml.
        package: the folder with the sources of codetr.
    """
    root = package.parent
    if (root / CONSTRAINTS).is_file() and (root / "pyproject.toml").is_file():
        here = Path.cwd() == root
        return f'Install it{"" if here else f", in {root}"}: pip install -c {CONSTRAINTS} -e ".[{extra}]"'
    return f"Install it: pip install {' '.join(_packages(extra)) or extra}"


def _packages(extra: str) -> list[str]:
    """Return the requirements of an extra of the installed package, quoted for a shell."""
    try:
        lines = requires("codetr") or []
    except PackageNotFoundError:
        return []
    marked = (line.partition(";") for line in lines)
    needed = [
        name.strip() for name, _, marker in marked if re.search(rf"extra == ['\"]{re.escape(extra)}['\"]", marker)
    ]
    return [f'"{name}"' for name in needed if not name.startswith("codetr")]
