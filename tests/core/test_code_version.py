"""What identifies the code of a step follows its imports, and nothing else."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import PIL
import pytest

from codetr.core.code_version import (
    PACKAGE,
    code_version,
    library_versions,
    program_digest,
    source_files,
    sources_digest,
)


def write(folder: Path, **files: str) -> Path:
    """Write modules by dotted name (`__` for a dot) into a package, with the packages they are in."""
    for name, text in files.items():
        path = folder.joinpath(*name.split("__")).with_suffix(".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        (path.parent / "__init__.py").touch()
        path.write_text(text)
    (folder / "__init__.py").touch()
    return folder


def names(*modules: str, package: Path) -> list[str]:
    return [path.relative_to(package).as_posix() for path in source_files(*modules, package=package)]


def test_imports_of_every_form_are_followed(tmp_path: Path) -> None:
    """A module that is missed gives stale results: its change would not repeat a stage."""
    package = write(
        tmp_path / "codetr",
        a="import os\nimport codetr.b\nfrom codetr import c\nfrom codetr.sub import d, name\n",
        b="def f():\n    try:\n        pass\n    except ImportError:\n        from codetr.lazy import x\n",
        c="with open('x') as f:\n    from codetr.sub.e import y\n",
        lazy="match 1:\n    case 1:\n        import codetr.matched\n",
        matched="",
        sub__d="",
        sub__e="",
        unused="",
    )
    expected = [
        "__init__.py",
        "a.py",
        "b.py",
        "c.py",
        "lazy.py",
        "matched.py",
        "sub/__init__.py",
        "sub/d.py",
        "sub/e.py",
    ]
    assert names("codetr.a", package=package) == expected


def test_imports_for_type_checkers_do_not_count(tmp_path: Path) -> None:
    """They decide nothing, and would connect nearly every module with every other."""
    text = (
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from codetr.b import B\nelse:\n    import codetr.c\n"
    )
    package = write(tmp_path / "codetr", a=text, b="", c="")
    assert names("codetr.a", package=package) == ["__init__.py", "a.py", "c.py"]


def test_the_digest_follows_content_and_name_of_what_is_imported_only(tmp_path: Path) -> None:
    def digest(name: str, **files: str) -> str:
        return sources_digest("codetr.a", package=write(tmp_path / name / "codetr", **files))

    first = digest("first", a="import codetr.b", b="one = 1", other="x = 1")
    assert digest("other", a="import codetr.b", b="one = 1", other="x = 2") == first
    assert digest("content", a="import codetr.b", b="one = 2", other="x = 1") != first
    assert digest("renamed", a="import codetr.c", c="one = 1", other="x = 1") != first


def test_a_module_that_does_not_exist_is_refused() -> None:
    """A misspelt name would stand for no code at all."""
    with pytest.raises(ModuleNotFoundError, match=r"no module 'codetr\.steps\.trian'"):
        source_files("codetr.steps.trian")


def test_templates_belong_to_the_code_that_renders_them() -> None:
    """A changed report page repeats the evaluation, and must not train again."""
    page = PACKAGE / "evaluation/report/templates/report.html"
    assert page in source_files("codetr.steps.evaluate")
    assert page not in source_files("codetr.steps.train")


def test_training_does_not_depend_on_plots_reports_and_commands() -> None:
    files = {path.relative_to(PACKAGE).as_posix() for path in source_files("codetr.steps.train")}
    assert not [
        name for name in files if name.startswith(("cli/", "evaluation/report/", "evaluation/analysis/", "doctor/"))
    ]
    assert "visual/plotting.py" not in files


@pytest.mark.process
@pytest.mark.parametrize("step", ["prepare", "train", "evaluate", "register"])
def test_everything_a_step_imports_is_among_its_files(step: str) -> None:
    """Python's record of the imports, of those at the top of the modules."""
    loaded = "[m.__file__ for name, m in sys.modules.items() if name.split('.')[0] == 'codetr']"
    script = f"import sys, codetr.steps.{step}\nprint(*{loaded}, sep='\\n')"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=PACKAGE.parent
    )
    imported = {Path(line) for line in done.stdout.splitlines()}
    assert imported <= set(source_files(f"codetr.steps.{step}"))


def test_versions_are_those_of_what_is_installed() -> None:
    import torch

    version = code_version("codetr.steps.register")
    assert version["torch"] == torch.__version__
    assert set(version) == {"codetr", "torch", "python", "sources"}
    libraries = library_versions()
    assert libraries["pillow"] == PIL.__version__
    assert {"matplotlib", "numpy", "pillow", "pycocotools", "scipy", "timm", "torchvision"} <= set(libraries)


def test_an_image_is_labelled_with_the_digest_of_every_step() -> None:
    """The label would not change with the code of a step that it leaves out."""
    files = set(source_files("codetr.__main__"))
    for step in ("prepare", "train", "evaluate", "register"):
        assert set(source_files(f"codetr.steps.{step}")) <= files
    assert program_digest() == sources_digest("codetr.__main__")
