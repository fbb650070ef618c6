"""Jobs that nothing watches are deleted; those that are watched, and those of others, never."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from codetr.launch.sweep import KEPT, UNWATCHED, sweep
from codetr.launch.trainjob import HEARTBEAT, JOB_LABEL
from tests.support.launch.kubernetes_server import KubernetesServer, kubernetes_server

NOW = datetime(2026, 6, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


@pytest.fixture
def server() -> Iterator[KubernetesServer]:
    with kubernetes_server() as running:
        yield running


def text(age: timedelta) -> str:
    return (NOW - age).strftime("%Y-%m-%dT%H:%M:%SZ")


def add(server: KubernetesServer, name: str, heartbeat: str | None, *, ended: timedelta | None = None) -> None:
    job: dict[str, Any] = {
        "metadata": {
            "name": name,
            "labels": {JOB_LABEL: name},
            "annotations": {} if heartbeat is None else {HEARTBEAT: heartbeat},
            "creationTimestamp": text(timedelta(days=30)),
            "uid": name,
        }
    }
    if ended is not None:
        condition = {"type": "Failed", "status": "True", "lastTransitionTime": text(ended)}
        job["status"] = {"conditions": [condition]}
    server.jobs[name] = job


def test_what_is_deleted(server: KubernetesServer) -> None:
    add(server, "watched", text(UNWATCHED - MINUTE))
    add(server, "unwatched", text(UNWATCHED + MINUTE))
    add(server, "no-heartbeat", None)
    add(server, "damaged-heartbeat", "yesterday")
    add(server, "ended", text(KEPT), ended=KEPT - MINUTE)
    add(server, "ended-long-ago", text(KEPT), ended=KEPT + MINUTE)
    add(server, "foreign", None)
    server.jobs["foreign"]["metadata"]["labels"] = {"team": "other"}
    deleted = sweep(server.api(), now=NOW)
    assert sorted(deleted) == ["damaged-heartbeat", "ended-long-ago", "no-heartbeat", "unwatched"]
    assert sorted(server.jobs) == ["ended", "foreign", "watched"]


def test_a_job_that_was_created_again_stays(server: KubernetesServer) -> None:
    """Its launcher may have started it between the list and the deletion."""
    add(server, "one", None)
    api = server.api()
    [listed] = api.jobs()
    server.jobs["one"]["metadata"] = {**server.jobs["one"]["metadata"], "uid": "another"}
    api.delete_job({"metadata": {**listed["metadata"], "uid": "one"}})
    assert list(server.jobs) == ["one"]


def test_a_job_that_was_just_created_is_not_deleted(server: KubernetesServer) -> None:
    """Its heartbeat may be damaged by whoever adopts it; its creation counts as well."""
    add(server, "new", text(timedelta(days=9)))
    server.jobs["new"]["metadata"]["creationTimestamp"] = text(MINUTE)
    assert sweep(server.api(), now=NOW) == []
