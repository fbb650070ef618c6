"""The wheel and the sdist hold the package, all of it and nothing else, and the wheel works where only it is installed.

`make build` checks the files in dist/ (CODETR_DIST); otherwise they are built here, from a copy of the checkout.
"""

import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from email import message_from_bytes
from email.message import Message
from pathlib import Path

import pytest

from codetr.core.version import __version__
from tests.support.paths import ROOT

pytestmark = pytest.mark.process

METADATA = f"codetr-{__version__}.dist-info"


def checkout_files() -> list[str]:
    """Return the files of the working tree that git tracks, or would after `git add`."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return sorted({name for name in listed.split("\0") if (ROOT / name).is_file()})


PACKAGE = {name for name in checkout_files() if name.startswith("codetr/")}


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder with the wheel and the sdist."""
    if given := os.environ.get("CODETR_DIST"):
        return ROOT / given
    source = tmp_path_factory.mktemp("source")
    for name in checkout_files():
        # Golden numbers are large. The other tests are copied: the sdist has to leave them out.
        if not name.startswith("tests/golden/"):
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, source / name)
    # Without isolation: the build backend is the pinned one, and nothing is downloaded.
    command = [sys.executable, "-m", "build", "--no-isolation", "--quiet"]
    subprocess.run(command, cwd=source, check=True)
    return source / "dist"


@pytest.fixture(scope="module")
def wheel(dist: Path) -> Path:
    [path] = dist.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a new virtual environment that has the wheel and, behind it, the dependencies of this environment.

    A line in a .pth file makes the dependencies importable, but the .pth files in their folder are not read, so the
    editable install of the checkout has no effect. Installing the dependencies again would take minutes and gigabytes;
    the release workflow does that.
    """
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder)
    python = folder / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "--disable-pip-version-check"]
    subprocess.run([*pip, "install", "--quiet", "--no-deps", "--no-index", str(wheel)], check=True)
    [packages] = folder.glob("lib/python*/site-packages")
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    return folder


def run(environment: Path, *command: str) -> str:
    """Return what a command of the environment prints, run in an empty folder and without the caller's settings."""
    folder = environment / "empty"
    folder.mkdir(exist_ok=True)
    settings = {"PATH": os.environ["PATH"], "HOME": str(folder), "COLUMNS": "120"}
    program = [str(environment / "bin" / command[0]), *command[1:]]
    result = subprocess.run(program, cwd=folder, env=settings, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_the_wheel_has_every_file_of_the_package_and_nothing_else(wheel: Path) -> None:
    """A report would fail without its template, type checkers without py.typed; tests would shadow those of others."""
    with zipfile.ZipFile(wheel) as archive:
        files = {name for name in archive.namelist() if not name.startswith(f"{METADATA}/")}
    assert files == PACKAGE
    assert {Path(name).suffix for name in files} >= {".py", ".html", ".typed"}


def test_the_sdist_has_what_a_build_needs_and_no_tests(dist: Path) -> None:
    """setuptools adds files such as tests/test_a.py by itself, which fail without the other tests and their data."""
    [path] = dist.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        files = {name.partition("/")[2] for name in archive.getnames() if archive.getmember(name).isfile()}
    generated = {name for name in files if name.startswith("codetr.egg-info/")} | {"PKG-INFO", "setup.cfg"}
    documents = {"LICENSE", "README.md", "CHANGELOG.md", "CITATION.cff"}
    assert files - generated == PACKAGE | documents | {"MANIFEST.in", "pyproject.toml"}


def test_the_wheel_names_its_version_licence_and_python(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        metadata: Message = message_from_bytes(archive.read(f"{METADATA}/METADATA"))
        assert f"{METADATA}/licenses/LICENSE" in archive.namelist()
    assert (metadata["Name"], metadata["Version"]) == ("codetr", __version__)
    assert (metadata["License-Expression"], metadata["Requires-Python"]) == ("Apache-2.0", ">=3.11")


def test_the_installed_command_runs(environment: Path) -> None:
    assert run(environment, "codetr", "--version").split() == ["codetr", __version__]
    assert "prepare" in run(environment, "codetr", "--help")
    assert "co_dino_5scale_r50_1x_coco" in run(environment, "codetr", "zoo")


def test_every_installed_module_can_be_imported(environment: Path) -> None:
    """One that imports from tests/ or pipelines/ works in the checkout only."""
    code = """
import codetr, importlib, pkgutil
names = {module.name for module in pkgutil.walk_packages(codetr.__path__, "codetr.")} - {"codetr.__main__"}
print(codetr.__file__, *[importlib.import_module(name).__name__ for name in names])
"""
    file, *names = run(environment, "python", "-c", code).split()
    assert Path(file).is_relative_to(environment), "the checkout was imported, not the wheel"
    modules = {
        name.removesuffix(".py").removesuffix("/__init__").replace("/", ".") for name in PACKAGE if name.endswith(".py")
    }
    assert set(names) == modules - {"codetr", "codetr.__main__"}
