"""Findings: counted without limit, shown within limits, documented."""

from __future__ import annotations

import pytest

from codetr.data.validation.finding_kinds import KINDS
from codetr.data.validation.findings import MAX_EXAMPLES, Findings
from tests.support.paths import ROOT


def test_the_guide_shows_every_kind() -> None:
    """The table in docs/reference/findings.md is what users are promised."""
    guide = (ROOT / "docs" / "reference" / "findings.md").read_text()
    expected = [
        f"| `{name}` | {kind.severity} | {kind.meaning} | {kind.action} | {kind.fix or '-'} |"
        for name, kind in KINDS.items()
    ]
    assert [line for line in guide.splitlines() if line.startswith("| `")] == expected


def test_examples_are_few_short_and_printable() -> None:
    findings = Findings()
    for number in range(MAX_EXAMPLES + 5):
        findings.add("image_missing", f"image {number} 'a\n\x1b[31m{'x' * 1000}'")
    (finding,) = findings.all()
    assert finding.count == MAX_EXAMPLES + 5
    assert len(finding.examples) == MAX_EXAMPLES
    assert all(len(example) <= 300 and example.isprintable() for example in finding.examples)


def test_findings_are_ordered_and_summed_up_by_kind() -> None:
    findings = Findings()
    for name in ("box_tiny", "image_missing", "image_missing"):
        findings.add(name, "example")
    assert findings.summary() == "image_missing 2, box_tiny 1"
    assert findings.summary("dropped") == "image_missing 2"
    assert findings.count("area_missing") == 0
    assert Findings().summary() == "none"


def test_a_misspelt_kind_is_a_defect() -> None:
    with pytest.raises(KeyError, match="image_mising"):
        Findings().add("image_mising", "example")
