"""Which code computes a step: the modules it imports, the digest of their sources, the versions of libraries.

This is the one answer to "which code made this?": manifests record it, an interrupted evaluation is resumed only by the
code that began it, and the dependencies of the stages in dvc.yaml are these files. Imports are read from the sources,
so nothing is imported to find them, and imports inside functions count.
"""

from __future__ import annotations

import ast
import platform
import re
from collections.abc import Iterable, Iterator
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from codetr.core.files import sha256_file, sha256_json
from codetr.core.version import __version__

PACKAGE = Path(__file__).parents[1]
"""The folder with the sources of codetr."""

_LIBRARIES = (
    "contourpy",
    "defusedxml",
    "jinja2",
    "matplotlib",
    "msgspec",
    "numpy",
    "pillow",
    "pycocotools",
    "safetensors",
    "scipy",
    "timm",
    "torchvision",
)
"""Libraries other than PyTorch whose version can change a result: numbers, or how files are read and written."""


def code_version(*modules: str) -> dict[str, str]:
    """Return what identifies the code of a step.

    Args:
        modules: dotted names of the modules that do the work, such as `codetr.steps.train`.

    Returns:
        The versions of codetr, PyTorch and Python, and `sources`, see `sources_digest`.
    """
    return {
        "codetr": __version__,
        "torch": _torch_version(),
        "python": platform.python_version(),
        "sources": sources_digest(*modules),
    }


def library_versions() -> dict[str, str | None]:
    """Return the version of each library that can change a result; None if it is not installed."""
    return {name: _version(name) for name in _LIBRARIES}


def program_digest() -> str:
    """Return the digest of all code that the command line can run; images carry it as the label dev.codetr.code."""
    return sources_digest("codetr.__main__")


@cache
def sources_digest(*modules: str, package: Path = PACKAGE) -> str:
    """Return the digest of the names and contents of `source_files`, as `sha256:<hex>`."""
    files = source_files(*modules, package=package)
    return sha256_json({path.relative_to(package).as_posix(): sha256_file(path) for path in files})


def source_files(*modules: str, package: Path = PACKAGE) -> tuple[Path, ...]:
    """Return the files of codetr that modules run: themselves, everything they import, and the templates they render.

    Imports for type checkers only do not count.

    Args:
        modules: dotted names, such as `codetr.steps.train`.
        package: the folder with the sources of codetr.

    Returns:
        Absolute paths, sorted.

    Raises:
        ModuleNotFoundError: codetr has no such module.
    """
    found: set[Path] = set()
    pending = list(modules)
    seen: set[str] = set()
    while pending:
        name = pending.pop()
        if name in seen:
            continue
        seen.add(name)
        path = _module_file(name, package)
        if path is None:
            raise ModuleNotFoundError(f"codetr has no module '{name}'", name=name)
        found.add(path)
        if "." in name:
            pending.append(name.rpartition(".")[0])  # importing a module runs its package first
        text = path.read_text(encoding="utf-8")
        pending += (_imported_module(module, name, package) for module, name in _imports(text))
        templates = path.parent / "templates"
        if "page_environment(" in text and templates.is_dir():
            found.update(templates.iterdir())
    return tuple(sorted(found))


@cache
def _imports(text: str) -> tuple[tuple[str, str | None], ...]:
    """Return what a source imports of codetr, in order: the module, and the name that is imported from it.

    Parsing takes most of the time, and several steps share most of their files.
    """
    return tuple(_imports_of(ast.parse(text).body))


def _imports_of(statements: Iterable[ast.AST]) -> Iterator[tuple[str, str | None]]:
    """Yield what statements import of codetr, at any depth."""
    for statement in statements:
        if isinstance(statement, ast.If) and "TYPE_CHECKING" in ast.unparse(statement.test):
            yield from _imports_of(statement.orelse)
            continue
        if isinstance(statement, ast.Import):
            yield from ((alias.name, None) for alias in statement.names if alias.name.split(".")[0] == "codetr")
        elif isinstance(statement, ast.ImportFrom) and (statement.module or "").split(".")[0] == "codetr":
            yield from ((statement.module or "", alias.name) for alias in statement.names)
        for block in ("body", "orelse", "finalbody", "handlers", "cases"):
            yield from _imports_of(getattr(statement, block, []))


def _imported_module(module: str, name: str | None, package: Path) -> str:
    """Return the module that an import runs: a submodule of that name, else the module that has the name."""
    inner = f"{module}.{name}"
    return inner if name is not None and _module_file(inner, package) else module


def _module_file(name: str, package: Path) -> Path | None:
    path = package.joinpath(*name.split(".")[1:])
    return next((file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()), None)


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


@cache
def _torch_version() -> str:
    """Return `torch.__version__`, which names the build (such as +cpu), without importing PyTorch."""
    spec = find_spec("torch")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("PyTorch is not installed", name="torch")
    text = Path(spec.origin).with_name("version.py").read_text(encoding="utf-8")
    found = re.search(r"""^__version__ = ['"](.+)['"]$""", text, re.MULTILINE)
    return found[1] if found else version("torch")
