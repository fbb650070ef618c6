"""Findings: counted without limit, shown within limits, documented, recorded."""

from __future__ import annotations

import pytest

from codetr.data.validation.finding_kinds import KINDS
from codetr.data.validation.findings import MAX_EXAMPLES, Findings, ReadEntry
from tests.support.paths import ROOT


def test_the_guide_shows_every_kind() -> None:
    """The table in docs/reference/findings.md is what users are promised."""
    guide = (ROOT / "docs" / "reference" / "findings.md").read_text()
    expected = [
        f"| `{name}` | {kind.severity} | {kind.meaning} | {kind.action} | {kind.fix or '-'} |"
        for name, kind in KINDS.items()
    ]
    assert [line for line in guide.splitlines() if line.startswith("| `")] == expected


def test_examples_hold_no_passwords_of_addresses() -> None:
    """Reports are files that are uploaded and kept; file names are addresses in some annotation files."""
    findings = Findings()
    findings.add("image_unsafe_path", "image 1 'https://ada:hunter22@host/a.jpg?X-Amz-Signature=0123456789abcdef'")
    (finding,) = findings.all()
    assert finding.examples == ["image 1 'https://***@host/a.jpg?X-Amz-Signature=***'"]


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


def test_entries_are_recorded_with_their_findings() -> None:
    """A repair would otherwise name wrong reasons, or none."""
    recorded: list[ReadEntry] = []
    findings = Findings(recorded.append)
    findings.add("image_repeated", "before any entry")
    with findings.of_entry("annotations", 3) as entry:
        for name in ("box_tiny", "area_missing", "box_tiny"):
            findings.add(name, "example")
        entry.value = {"area": 7}
    findings.add("image_leaked", "after it")
    with pytest.raises(ZeroDivisionError), findings.of_entry("annotations", 4):
        _ = 1 / 0
    assert recorded == [ReadEntry("annotations", 3, ["box_tiny", "area_missing"], {"area": 7})]
    assert findings.count("box_tiny") == 2


def test_a_misspelt_kind_is_a_defect() -> None:
    with pytest.raises(KeyError, match="image_mising"):
        Findings().add("image_mising", "example")
