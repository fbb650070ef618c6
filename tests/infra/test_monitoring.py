"""Alerts fire when they should and stay silent otherwise (promtool), and the dashboard draws series that exist."""

from __future__ import annotations

import json
import re
import runpy
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from codetr.launch.trainjob import NODE, trainjob
from codetr.serving.metrics import Metrics
from tests.support.launch.specs import cluster, job
from tests.support.paths import ROOT

FOLDER = ROOT / "infra/kubernetes/components/monitoring"
RULES = yaml.safe_load((FOLDER / "rules.yaml").read_text())["spec"]
STATE_METRICS = yaml.safe_load((FOLDER / "state_metrics.yaml").read_text())["spec"]["resources"]
DASHBOARD = json.loads((FOLDER / "codetr.json").read_text())

needs_promtool = pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")


def promtool(*arguments: str | Path) -> None:
    result = subprocess.run(["promtool", *arguments], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


def alerts() -> dict[str, dict[str, Any]]:
    return {rule["alert"]: rule for group in RULES["groups"] for rule in group["rules"] if "alert" in rule}


@needs_promtool
def test_alerts_fire_and_stay_silent(tmp_path: Path) -> None:
    """The cases are in alerts.yaml; every alert has one in which it fires."""
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(RULES))
    shutil.copy(Path(__file__).with_name("alerts.yaml"), tmp_path)
    promtool("test", "rules", tmp_path / "alerts.yaml")


def test_every_alert_has_a_case_in_which_it_fires() -> None:
    cases = yaml.safe_load(Path(__file__).with_name("alerts.yaml").read_text())["tests"]
    fired = {one["alertname"] for case in cases for one in case.get("alert_rule_test", []) if one.get("exp_alerts")}
    assert fired == set(alerts())


@needs_promtool
def test_the_expressions_of_the_dashboard_can_be_parsed(tmp_path: Path) -> None:
    expressions = [target["expr"] for panel in DASHBOARD["panels"] for target in panel.get("targets", [])]
    assert expressions
    rules = [{"record": f"panel:{number}", "expr": expression} for number, expression in enumerate(expressions)]
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    promtool("check", "rules", tmp_path / "rules.yaml")


def test_the_dashboard_is_the_one_that_its_script_writes() -> None:
    assert runpy.run_path(str(FOLDER / "dashboard.py"))["dashboard"]() == DASHBOARD
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


def test_panels_do_not_overlap() -> None:
    cells = [
        (x, y)
        for panel in DASHBOARD["panels"]
        for position in [panel["gridPos"]]
        for x in range(position["x"], position["x"] + position["w"])
        for y in range(position["y"], position["y"] + position["h"])
    ]
    assert len(set(cells)) == len(cells)
    assert max(x for x, _ in cells) < 24


def used_names() -> set[str]:
    """Return the names of codetr's series that rules and panels use."""
    texts = [rule["expr"] for group in RULES["groups"] for rule in group["rules"]]
    texts += [target["expr"] for panel in DASHBOARD["panels"] for target in panel.get("targets", [])]
    return {name for text in texts for name in re.findall(r"\bcodetr[_:][a-z_]+", text)}


def test_series_that_are_used_are_recorded_or_exported() -> None:
    """A rule on a series that nothing exports is silent for ever."""
    recorded = {rule["record"] for group in RULES["groups"] for rule in group["rules"] if "record" in rule}
    exported = {
        f"{resource['metricNamePrefix']}_{metric['name']}"
        for resource in STATE_METRICS
        for metric in resource["metrics"]
    }
    served = Metrics("model")
    served.count(200)
    samples = {sample.name for family in served.registry.collect() for sample in family.samples}
    assert used_names() <= recorded | exported | samples


def test_the_paths_of_state_metrics_exist_in_a_job() -> None:
    """kube-state-metrics says nothing about a path that never exists."""
    [resource] = [one for one in STATE_METRICS if one["groupVersionKind"]["kind"] == "TrainJob"]
    settings = {"processes": 8, "resources": {"accelerators": 8}}
    made = trainjob(job(cluster(**settings)), 0, seconds=60)
    made["metadata"] |= {"namespace": "codetr", "creationTimestamp": "2026-01-01T00:00:00Z"}
    made["status"] = {
        "conditions": [{"type": "Failed", "status": "True", "reason": "x"}],
        "jobsStatus": [{"name": NODE, "active": 1}],
        "trainerStatus": {
            "progressPercentage": 1,
            "estimatedRemainingSeconds": 2,
            "lastUpdatedTime": "2026-01-01T00:00:00Z",
        },
    }
    group, version = made["apiVersion"].split("/")
    assert resource["groupVersionKind"] == {"group": group, "version": version, "kind": made["kind"]}
    for path in resource["labelsFromPath"].values():
        assert at(made, path) is not None, path
    for metric in resource["metrics"]:
        gauge = metric["each"]["gauge"]
        value = at(made, gauge["path"])
        assert value is not None, metric["name"]
        for inner in [gauge.get("valueFrom"), *gauge.get("labelsFromPath", {}).values()]:
            assert inner is None or at(value[0], inner) is not None, metric["name"]


def at(value: Any, path: list[str]) -> Any:
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value
