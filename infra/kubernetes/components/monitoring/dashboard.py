"""Write the Grafana dashboard `codetr.json`: `python infra/kubernetes/components/monitoring/dashboard.py`.

A panel is a title, a unit and the expressions that it draws; Grafana's JSON says the same in a hundred lines.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("codetr.json")
COLUMNS, WIDTH, HEIGHT = 3, 8, 8
"""A row of Grafana is 24 units wide."""

JOB = "{{trainjob}}"

ROWS: dict[str, list[tuple[str, str, dict[str, str]]]] = {
    "Training": [
        ("Progress", "percent", {JOB: 'codetr_trainjob_progress{namespace="codetr"}'}),
        ("Time left", "s", {JOB: 'codetr_trainjob_remaining_seconds{namespace="codetr"}'}),
        ("GPU utilisation", "percentunit", {JOB: 'codetr:trainjob_gpu_utilisation{namespace="codetr"}'}),
        (
            "GPU memory",
            "percentunit",
            {
                "{{pod}}": 'DCGM_FI_DEV_FB_USED{namespace="codetr"} '
                '/ (DCGM_FI_DEV_FB_USED{namespace="codetr"} + DCGM_FI_DEV_FB_FREE{namespace="codetr"})'
            },
        ),
        (
            "Ended jobs",
            "short",
            {"{{type}}": 'sum by (type) (codetr_trainjob_condition{namespace="codetr", type=~"Complete|Failed"})'},
        ),
        (
            "Pipeline runs",
            "short",
            {"{{phase}}": 'sum by (phase) (codetr_pipeline_run_phase{namespace="codetr"})'},
        ),
    ],
    "Queue": [
        (
            "Waiting",
            "short",
            {"{{name}} {{status}}": 'sum by (name, status) (kueue_local_queue_pending_workloads{namespace="codetr"})'},
        ),
        (
            "Wait before admission (90 %)",
            "s",
            {
                "{{cluster_queue}}": "histogram_quantile(0.9, sum by (cluster_queue, le) "
                '(rate(kueue_admission_wait_time_seconds_bucket{cluster_queue="codetr"}[1d])))'
            },
        ),
        (
            "Evictions",
            "short",
            {"{{reason}}": 'sum by (reason) (increase(kueue_evicted_workloads_total{cluster_queue="codetr"}[1d]))'},
        ),
    ],
    "Cost": [
        ("GPUs in use", "short", {"GPUs": 'codetr:gpus_in_use{namespace="codetr"}'}),
        ("Cost per hour", "currencyUSD", {"USD": 'codetr:gpu_cost_per_hour{namespace="codetr"}'}),
        (
            "Cost of the last 30 days",
            "currencyUSD",
            {"USD": 'sum_over_time(codetr:gpu_cost_per_hour{namespace="codetr"}[30d:5m]) / 12'},
        ),
    ],
    "Storage and serving": [
        (
            "Volume in use",
            "percentunit",
            {
                "{{persistentvolumeclaim}}": '1 - kubelet_volume_stats_available_bytes{namespace="codetr"} '
                '/ kubelet_volume_stats_capacity_bytes{namespace="codetr"}'
            },
        ),
        (
            "Requests",
            "reqps",
            {"{{code}}": 'sum by (code) (rate(codetr_serve_requests_total{namespace="codetr"}[5m]))'},
        ),
        (
            "Time of a request (95 %)",
            "s",
            {
                "{{model}}": "histogram_quantile(0.95, sum by (model, le) "
                '(rate(codetr_serve_request_seconds_bucket{namespace="codetr"}[5m])))'
            },
        ),
    ],
}


def dashboard() -> dict[str, Any]:
    """Return the dashboard as Grafana imports it."""
    panels: list[dict[str, Any]] = []
    y = 0
    for row, entries in ROWS.items():
        panels.append(
            {"id": len(panels) + 1, "type": "row", "title": row, "gridPos": {"x": 0, "y": y, "w": 24, "h": 1}}
        )
        y += 1
        for number, (title, unit, series) in enumerate(entries):
            position = {
                "x": number % COLUMNS * WIDTH,
                "y": y + number // COLUMNS * HEIGHT,
                "w": WIDTH,
                "h": HEIGHT,
            }
            panels.append(_panel(len(panels) + 1, title, unit, series, position))
        y += (len(entries) + COLUMNS - 1) // COLUMNS * HEIGHT
    source = {"name": "datasource", "type": "datasource", "query": "prometheus", "label": "Prometheus"}
    return {
        "uid": "codetr",
        "title": "codetr",
        "tags": ["codetr"],
        "schemaVersion": 39,
        "time": {"from": "now-24h", "to": "now"},
        "refresh": "1m",
        "templating": {"list": [source]},
        "panels": panels,
    }


def _panel(number: int, title: str, unit: str, series: dict[str, str], position: dict[str, int]) -> dict[str, Any]:
    source = {"type": "prometheus", "uid": "${datasource}"}
    return {
        "id": number,
        "type": "timeseries",
        "title": title,
        "datasource": source,
        "gridPos": position,
        "fieldConfig": {"defaults": {"unit": unit, "min": 0}, "overrides": []},
        "targets": [
            {"refId": chr(ord("A") + index), "datasource": source, "expr": expression, "legendFormat": legend}
            for index, (legend, expression) in enumerate(series.items())
        ],
    }


if __name__ == "__main__":
    FILE.write_text(json.dumps(dashboard(), indent=2) + "\n", encoding="utf-8")
