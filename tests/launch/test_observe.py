"""The state of an attempt, read from a TrainJob and its pods."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from codetr.launch.endings import Cause, classify
from codetr.launch.observe import IMAGE_PATIENCE, observe
from codetr.launch.state import AttemptState, Phase
from codetr.launch.trainjob import parse_time

START = datetime(2026, 1, 1, tzinfo=UTC)


def seen(pods: list[dict[str, Any]], *conditions: dict[str, str], after: float = 60.0, **status: Any) -> AttemptState:
    job = {"metadata": {"creationTimestamp": text(0)}, "status": {"conditions": list(conditions), **status}}
    return observe(job, pods, lambda name: (f"log of {name}",), now=START + timedelta(seconds=after))


def text(seconds: float) -> str:
    return (START + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")


def condition(kind: str, reason: str = "", message: str = "", status: str = "True") -> dict[str, str]:
    return {"type": kind, "status": status, "reason": reason, "message": message}


def pod(index: int, phase: str, *, conditions: list[dict[str, str]] | None = None, **state: Any) -> dict[str, Any]:
    status: dict[str, Any] = {"phase": phase, "startTime": text(10), "conditions": conditions or []}
    if state:
        status["containerStatuses"] = [{"name": "sidecar", "state": {}}, {"name": "node", "state": state}]
    return {"metadata": {"name": f"j-node-0-{index}", "creationTimestamp": text(0)}, "status": status}


def ended(index: int, code: int, at: float, reason: str = "Error") -> dict[str, Any]:
    return pod(index, "Failed", terminated={"exitCode": code, "reason": reason, "finishedAt": text(at)})


def test_a_new_job_is_queued() -> None:
    """Before the controller has seen it there is no status at all."""
    state = observe({"metadata": {"creationTimestamp": text(0)}}, [], lambda _: (), now=START + timedelta(seconds=5))
    assert (state.phase, state.age) == (Phase.QUEUED, 5.0)


def test_why_it_is_queued() -> None:
    assert "admit" in seen([], condition("Suspended")).reason
    unschedulable = condition("PodScheduled", "Unschedulable", "0/4 nodes: insufficient nvidia.com/gpu", "False")
    assert "insufficient" in seen([pod(0, "Pending", conditions=[unschedulable])]).reason
    assert seen([pod(0, "Pending", waiting={"reason": "ContainerCreating"})]).reason == "ContainerCreating"


def test_running_shows_progress() -> None:
    status = {"progressPercentage": 40, "estimatedRemainingSeconds": 90, "metrics": [{"name": "AP", "value": "0.3"}]}
    state = seen([pod(0, "Running"), pod(1, "Pending")], trainerStatus=status)
    assert (state.phase, state.age) == (Phase.RUNNING, 60.0)
    assert str(state.progress) == "40 %, 0:01:30 left, AP 0.3"


def test_complete() -> None:
    assert seen([pod(0, "Succeeded")], condition("Complete")).phase is Phase.SUCCEEDED


def test_the_pod_that_ended_first_comes_first() -> None:
    """The others fail because it is gone."""
    pods = [ended(0, 1, 30), ended(1, 137, 20, "OOMKilled"), pod(2, "Running")]
    state = seen(pods, condition("Failed", "FailedJobs", "jobset failed due to one or more job failures"))
    assert [end.name for end in state.ends] == ["j-node-0-1", "j-node-0-0"]
    assert state.ends[0].log == ("log of j-node-0-1",)
    assert classify(state).cause is Cause.HOST_MEMORY


def test_a_disruption_goes_before_the_exit_code() -> None:
    """The node stopped the container with SIGKILL: this is not a lack of memory."""
    gone = ended(0, 137, 20)
    gone["status"]["conditions"] = [condition("DisruptionTarget", "DeletionByTaintManager")]
    assert classify(seen([gone], condition("Failed", "FailedJobs"))).cause is Cause.NODE_LOST


def test_the_deadline_is_a_reason_of_its_own() -> None:
    assert (
        classify(seen([ended(0, 75, 20)], condition("Failed", "DeadlineExceeded", "too long"))).cause is Cause.DEADLINE
    )


def test_an_image_that_cannot_be_pulled_fails_after_a_while() -> None:
    """A registry may be slow for a minute; a misspelt image would hold the queue for a day."""
    waiting = pod(0, "Pending", waiting={"reason": "ImagePullBackOff", "message": "codetr:9: not found"})
    assert seen([waiting]).phase is Phase.QUEUED
    state = seen([waiting], after=IMAGE_PATIENCE + 1)
    assert (state.phase, state.stuck) == (Phase.FAILED, True)
    assert classify(state).cause is Cause.IMAGE
    assert classify(state).message == "codetr:9: not found"


def test_an_ended_pod_is_not_a_queue() -> None:
    """Between the end of the last pod and the condition of the job nothing runs; a job of 30 hours is not waiting."""
    for phase in ("Succeeded", "Failed"):
        assert seen([pod(0, phase)], after=30 * 3600).phase is Phase.RUNNING


def test_the_age_ends_with_the_attempt() -> None:
    """An attempt that failed yesterday must not use up the budget of today."""
    failed = {**condition("Failed", "FailedJobs"), "lastTransitionTime": text(100)}
    assert seen([ended(0, 1, 90)], failed, after=86400).age == 100


def test_a_damaged_time_is_the_present() -> None:
    assert parse_time("yesterday").tzinfo is not None
    assert parse_time("2026-01-01T00:00:00") == START
