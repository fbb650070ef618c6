"""A release has one version everywhere, and a tag that does not match it is refused with what to do."""

import importlib.util
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from codetr.core.version import __version__
from tests.support.paths import ROOT

SCRIPT = ROOT / ".ci/release.py"
FILES = ("codetr/core/version.py", "CITATION.cff", "CHANGELOG.md")

spec = importlib.util.spec_from_file_location("release", SCRIPT)
assert spec is not None
assert spec.loader is not None
release = importlib.util.module_from_spec(spec)
spec.loader.exec_module(release)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Return a folder with the three files, ready to be tagged."""
    for name in FILES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, tmp_path / name)
    (tmp_path / "CHANGELOG.md").write_text(
        f"# Changelog\n\n## Unreleased\n\n## {__version__} - 2026-01-31\n\n- New.\n\n## 0.0.1\n\n- Old.\n",
        encoding="utf-8",
    )
    return tmp_path


def replace(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def test_notes_are_the_section_of_the_version(repository: Path) -> None:
    assert release.release_notes(f"v{__version__}", repository) == "- New."


def test_the_last_section_of_the_changelog_is_found_too(repository: Path) -> None:
    assert release.changelog_section((repository / "CHANGELOG.md").read_text(encoding="utf-8"), "0.0.1") == "- Old."


@pytest.mark.parametrize("tag", [__version__, "v9.9.9", f"v{__version__}rc1", ""])
def test_another_tag_than_the_version_is_refused(repository: Path, tag: str) -> None:
    """The wheel would have another version than the release it is attached to."""
    with pytest.raises(release.ReleaseError, match=re.escape(f"tag v{__version__}")):
        release.release_notes(tag, repository)


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        ("CITATION.cff", f"version: {__version__}", "version: 9.9.9", "CITATION.cff has the version 9.9.9"),
        ("CHANGELOG.md", f"## {__version__}", "## 9.9.9", f"nothing under ## {__version__}"),
        ("CHANGELOG.md", "## Unreleased\n", "## Unreleased\n\n- Forgotten.\n", "entries under Unreleased"),
        ("codetr/core/version.py", "__version__", "VERSION", "version.py has 0 lines"),
    ],
)
def test_files_that_disagree_are_refused(repository: Path, name: str, old: str, new: str, message: str) -> None:
    replace(repository / name, old, new)
    with pytest.raises(release.ReleaseError, match=re.escape(message)):
        release.release_notes(f"v{__version__}", repository)


def test_the_script_fails_without_a_traceback() -> None:
    """The workflow would go on, or its log would hide the reason."""
    result = subprocess.run(
        [sys.executable, "-S", SCRIPT, "v9.9.9"], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr.startswith("The tag is v9.9.9, but ")


def test_changelog_and_citation_describe_this_version() -> None:
    assert release.package_version(ROOT) == __version__
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))["version"] == __version__
    assert release.changelog_section((ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), __version__)


def test_the_version_is_written_in_one_file() -> None:
    """Of two copies one is forgotten at the next release."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert project["project"]["dynamic"] == ["version"]
    assert project["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "codetr.core.version.__version__"}
    files = [
        path
        for path in (ROOT / "codetr").rglob("*.py")
        if re.search(r"^__version__\s*=", path.read_text(), re.MULTILINE)
    ]
    assert files == [ROOT / "codetr/core/version.py"]


def test_versions_of_the_images_in_manifests_and_guides_are_the_packages() -> None:
    """They cannot be derived: `kubectl apply` reads the files as they are."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "*.md", "*.y*ml"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    found: dict[str, set[str]] = {}
    for name in filter(None, listed.stdout.split("\0")):
        text = (ROOT / name).read_text(encoding="utf-8") if (ROOT / name).is_file() else ""
        versions = re.findall(r"\bcodetr(?:-airflow)?:v?(\d[\w.]*)|newTag: *[\"']?(\d[\w.]*)", text)
        if versions:
            found[name] = {"".join(version) for version in versions}
    assert {"infra/README.md", "infra/kubernetes/overlays/prod/kustomization.yaml"} <= found.keys()
    assert {name: versions for name, versions in found.items() if versions != {__version__}} == {}
