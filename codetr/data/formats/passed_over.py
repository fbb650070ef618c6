"""Report readable images that a source has, but that are not used."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from codetr.core.errors import UserError
from codetr.data.images import read_header
from codetr.data.storage.links import LinkTargets
from codetr.data.storage.paths import file_exists
from codetr.data.validation.findings import Findings

_NO_IMAGES = (".txt", ".xml", ".json", ".yaml", ".yml", ".csv", ".cache")
"""Suffixes of files that are not opened, since folders may have many of them."""


def report_passed_over(root: Path, names: Iterable[str], links: LinkTargets, findings: Findings) -> None:
    """Report files that are readable images, but have no name of an image.

    Args:
        root: the folder of all files.
        names: files that were not used, relative to it.
        links: where symbolic links may lead; others are not opened.
        findings: receives `image_passed_over`.
    """
    for name in names:
        if name.lower().endswith(_NO_IMAGES):
            continue
        try:
            if not file_exists(root, name, links):
                continue
            read_header(root / name)
        except (UserError, OSError):
            continue
        findings.add("image_passed_over", name)
