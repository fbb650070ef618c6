"""Whatever fails or fires has an entry in the runbook, and nothing else has."""

from __future__ import annotations

import re

import yaml

from codetr.launch.endings import Cause
from tests.support.paths import ROOT

RUNBOOK = (ROOT / "docs/how-to/runbook.md").read_text(encoding="utf-8")
RULES = yaml.safe_load((ROOT / "infra/kubernetes/components/monitoring/rules.yaml").read_text())["spec"]["groups"]


def entries(heading: str) -> set[str]:
    """Return the titles in a section."""
    section = RUNBOOK.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    return set(re.findall(r"^### (.+)$", section, re.MULTILINE))


def test_every_cause_has_an_entry() -> None:
    """The launcher prints the cause; a person looks it up."""
    assert entries("Causes of a failed attempt") == {str(cause) for cause in Cause}


def test_every_alert_has_an_entry_that_it_links_to() -> None:
    alerts = {rule["alert"]: rule for group in RULES for rule in group["rules"] if "alert" in rule}
    assert entries("Alerts") == set(alerts)
    for name, rule in alerts.items():
        assert rule["annotations"]["runbook"] == f"docs/how-to/runbook.md#{name.lower()}"


def test_no_entry_is_empty() -> None:
    for entry in RUNBOOK.split("\n### ")[1:]:
        assert len(entry.split()) > 12, entry.splitlines()[0]
