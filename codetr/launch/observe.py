"""The state of an attempt, from the objects of Kubernetes that it consists of: its TrainJob and its pods."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from codetr.launch.endings import REASONS_OF_IMAGES
from codetr.launch.state import AttemptState, Phase, ProcessEnd, Progress
from codetr.launch.trainjob import NODE, parse_time

Object = Mapping[str, Any]
"""An object of Kubernetes as JSON."""

IMAGE_PATIENCE = 300.0
"""Seconds for which a registry may refuse an image before the attempt counts as failed."""


def observe(
    job: Object, pods: Sequence[Object], log: Callable[[str], tuple[str, ...]], *, now: datetime | None = None
) -> AttemptState:
    """Return the state of an attempt.

    Args:
        job: its TrainJob.
        pods: its pods, of all restarts that still exist.
        log: returns the last lines of a pod's log.
        now: the time; None for that of the clock.
    """
    now = now or datetime.now(UTC)
    status = job.get("status") or {}
    conditions = {condition["type"]: condition for condition in status.get("conditions") or []}
    progress = _progress(status.get("trainerStatus"))
    ended = next((conditions[kind] for kind in ("Complete", "Failed") if _true(conditions.get(kind))), None)
    until = parse_time(ended["lastTransitionTime"]) if ended and "lastTransitionTime" in ended else now
    age = max((until - _created(job)).total_seconds(), 0.0)
    if ended is not None and ended["type"] == "Complete":
        return AttemptState(Phase.SUCCEEDED, "", age, progress)
    if ended is not None:
        # JobSet's reason says that a job failed; its pods say why.
        reason, message = ended.get("reason", ""), ended.get("message", "")
        known = reason in ("DeadlineExceeded", "TrainingRuntimeNotSupported")
        ends = tuple(_ends(pods, log))
        return AttemptState(Phase.FAILED, reason if known or not message else message, age, progress, ends)
    if waiting := _waits_in_vain(pods, now):
        return AttemptState(Phase.FAILED, waiting.reason, age, progress, (waiting,), stuck=True)
    # Between the end of the last pod and the condition of the job nothing runs, and nothing waits.
    if any(_phase(pod) in ("Running", "Succeeded", "Failed") for pod in pods):
        return AttemptState(Phase.RUNNING, "", age, progress)
    return AttemptState(Phase.QUEUED, _why_queued(conditions, pods), age, progress)


def _true(condition: Object | None) -> bool:
    return condition is not None and condition.get("status") == "True"


def _phase(pod: Object) -> str:
    return str((pod.get("status") or {}).get("phase", ""))


def _container(pod: Object) -> Object:
    statuses = (pod.get("status") or {}).get("containerStatuses") or []
    return next((status for status in statuses if status["name"] == NODE), {})


def _ends(pods: Sequence[Object], log: Callable[[str], tuple[str, ...]]) -> list[ProcessEnd]:
    """Return the ends of the pods that failed, the first one first."""
    found = []
    for pod in pods:
        if _phase(pod) != "Failed":
            continue
        terminated = (_container(pod).get("state") or {}).get("terminated") or {}
        # The node's reason for the pod goes before the container's, which is that it was killed.
        reason = _disruption(pod) or (pod.get("status") or {}).get("reason") or terminated.get("reason", "")
        name = pod["metadata"]["name"]
        code = terminated.get("exitCode")
        end = ProcessEnd(name, code, reason if reason != "Error" else "", log(name))
        found.append((terminated.get("finishedAt") or "~", name, end))
    return [end for *_, end in sorted(found, key=lambda item: item[:2])]


def _disruption(pod: Object) -> str:
    conditions = (pod.get("status") or {}).get("conditions") or []
    target: Object = next((one for one in conditions if one["type"] == "DisruptionTarget" and _true(one)), {})
    return str(target.get("reason", ""))


def _waits_in_vain(pods: Sequence[Object], now: datetime) -> ProcessEnd | None:
    for pod in pods:
        waiting = (_container(pod).get("state") or {}).get("waiting") or {}
        since = (now - _created(pod)).total_seconds()
        if waiting.get("reason") in REASONS_OF_IMAGES and since > IMAGE_PATIENCE:
            message = str(waiting.get("message") or waiting["reason"])
            return ProcessEnd(pod["metadata"]["name"], None, waiting["reason"], (message,))
    return None


def _why_queued(conditions: Mapping[str, Object], pods: Sequence[Object]) -> str:
    if _true(conditions.get("Suspended")):
        return "suspended: waiting for the queue to admit it"
    for pod in pods:
        for condition in (pod.get("status") or {}).get("conditions") or []:
            if condition["type"] == "PodScheduled" and condition.get("status") == "False":
                return str(condition.get("message") or condition.get("reason") or "")
        waiting = (_container(pod).get("state") or {}).get("waiting") or {}
        if waiting.get("reason"):
            return str(waiting["reason"])
    return ""


def _progress(status: Object | None) -> Progress | None:
    if not status:
        return None
    metrics = tuple((str(one["name"]), str(one["value"])) for one in status.get("metrics") or [])
    return Progress(status.get("progressPercentage"), status.get("estimatedRemainingSeconds"), metrics)


def _created(item: Object) -> datetime:
    return parse_time(item["metadata"].get("creationTimestamp"))
