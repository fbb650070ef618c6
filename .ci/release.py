"""Check that a release tag matches the repository, and print the release notes.

python3 .ci/release.py v1.2.3 > notes.md

Needs the standard library only, so that it runs before anything is installed.
"""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
VERSION = "codetr/core/version.py"


class ReleaseError(Exception):
    """The tag and the repository disagree; the message names the file and what to do."""


def package_version(root: Path) -> str:
    """Return `__version__`, read from its file without importing the package."""
    return _only_match(root, VERSION, r'^__version__ = "(.+)"$')


def changelog_section(changelog: str, heading: str) -> str:
    """Return the text under the heading of a version, with or without a date; "" if there is none."""
    start = rf"^## {re.escape(heading)}(?: - \d{{4}}-\d\d-\d\d)?\n"
    match = re.search(start + r"(.*?)(?=^## |\Z)", changelog, re.MULTILINE | re.DOTALL)
    return match[1].strip() if match else ""


def release_notes(tag: str, root: Path = ROOT) -> str:
    """Return the changelog's section for a tag.

    Raises:
        ReleaseError: the tag is not `v` and the package's version, CITATION.cff has another version, or the changelog
            has no section for it or still has entries under Unreleased.
    """
    version = package_version(root)
    if tag != f"v{version}":
        raise ReleaseError(
            f"The tag is {tag}, but {VERSION} has the version {version}: tag v{version}, or change the file"
        )
    cited = _only_match(root, "CITATION.cff", r"^version: (.+)$")
    if cited != version:
        raise ReleaseError(f"CITATION.cff has the version {cited}: change it to {version}")
    changelog = (root / "CHANGELOG.md").read_text(encoding="utf-8")
    if changelog_section(changelog, "Unreleased"):
        raise ReleaseError(f"CHANGELOG.md has entries under Unreleased: move them under ## {version}")
    notes = changelog_section(changelog, version)
    if not notes:
        raise ReleaseError(f"CHANGELOG.md has nothing under ## {version}: describe the release there")
    return notes


def _only_match(root: Path, name: str, pattern: str) -> str:
    found: list[str] = re.findall(pattern, (root / name).read_text(encoding="utf-8"), re.MULTILINE)
    if len(found) != 1:
        raise ReleaseError(f"{name} has {len(found)} lines like {pattern}: there must be one")
    return found[0]


if __name__ == "__main__":
    try:
        print(release_notes(" ".join(sys.argv[1:])))
    except ReleaseError as error:
        sys.exit(str(error))
