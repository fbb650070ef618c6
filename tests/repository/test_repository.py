"""What is written down in several places says the same, and what must not be committed is not."""

import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from tests.support.paths import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def pins(name: str) -> dict[str, Version]:
    """Package → version, of a file of pinned requirements."""
    lines = (ROOT / "requirements" / name).read_text().splitlines()
    requirements = [Requirement(line) for line in lines if line and not line.startswith("#")]
    for requirement in requirements:
        assert [part.operator for part in requirement.specifier] == ["=="], f"{requirement} is not pinned"
    return {canonicalize_name(part.name): Version(next(iter(part.specifier)).version) for part in requirements}


def test_every_requirement_is_pinned_within_its_range() -> None:
    """A package without a pin is whatever was published this morning."""
    pinned = pins("constraints.txt")
    optional = [line for lines in PROJECT["optional-dependencies"].values() for line in lines]
    for line in [*PROJECT["dependencies"], *optional]:
        requirement = Requirement(line)
        name = canonicalize_name(requirement.name)
        if name != "codetr":
            assert name in pinned, f"{name} is not in requirements/constraints.txt"
            assert pinned[name] in requirement.specifier, f"{requirement} does not admit {pinned[name]}"


def test_airflows_environment_has_neither_torch_nor_kfp() -> None:
    """They would fight with Airflow over versions; the DAG needs neither."""
    assert {"apache-airflow", "psycopg2-binary"} <= pins("airflow.txt").keys()
    assert {"torch", "kfp", "codetr"}.isdisjoint(pins("airflow.txt"))


def test_pre_commit_uses_the_pinned_versions() -> None:
    pinned = pins("constraints.txt")
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]
    asked = [Requirement(line) for hook in hooks for line in hook.get("additional_dependencies", [])]
    assert asked
    for requirement in asked:
        assert pinned[canonicalize_name(requirement.name)] in requirement.specifier


@pytest.mark.parametrize("path", [".pre-commit-config.yaml", "dvc.yaml", "params.yaml"])
def test_yaml_is_readable(path: str) -> None:
    assert isinstance(yaml.safe_load((ROOT / path).read_text()), dict)


def test_make_says_what_it_can_do() -> None:
    command = ["make", "--no-print-directory"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert {"demo", "test", "lint", "format", "build", "clean"} <= {
        line.split()[0] for line in result.stdout.splitlines()
    }


def test_make_refuses_without_a_python_that_is_new_enough(tmp_path: Path) -> None:
    """Nothing is installed, and the message says what is needed."""
    copy = tmp_path / "Makefile"
    copy.write_text((ROOT / "Makefile").read_text())
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "requirements").mkdir()
    (tmp_path / "requirements/constraints.txt").touch()
    command = ["make", "--no-print-directory", "demo", "PYTHON="]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode != 0
    assert "needs Python 3.11 or later" in result.stderr
    assert not (tmp_path / ".venv").exists()


def test_nothing_large_or_generated_is_committed() -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    files = [Path(name) for name in listed.split("\0") if name and (ROOT / name).is_file()]
    generated = [path for path in files if path.parts[0] in ("outputs", "wandb") or "__pycache__" in path.parts]
    assert generated == []
    large = [path for path in files if (ROOT / path).stat().st_size > 1 << 20 and path.parts[:2] != ("tests", "golden")]
    assert large == []


@pytest.mark.parametrize("folder", ["codetr", "pipelines", "components", "dags", "docs", "infra", ".github", "."])
def test_no_text_installs_a_package_of_this_name_from_an_index(folder: str) -> None:
    """The package is not published: anybody could publish another one under its name."""
    root = ROOT / folder
    files = root.glob("*.*") if folder == "." else root.rglob("*")
    texts = [path for path in files if path.suffix in (".py", ".md", ".yml", ".yaml", ".toml", ".Dockerfile", ".tf")]
    assert texts
    for path in texts:
        found = re.search(r"pip3? install[^`\n]*[\s'\"]codetr(\W|$)", path.read_text(encoding="utf-8"))
        assert found is None, f"{path.relative_to(ROOT)}: {found[0]}"
