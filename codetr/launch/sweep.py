"""Delete jobs that nothing watches any more, and those that ended long ago.

A launcher deletes its job when it is cancelled, and the cluster deletes it with the launcher's pod. Neither is certain:
a process may be killed at that moment, and a pod of an ended pipeline may stay. So each launcher writes the time into
its job while it watches, and a CronJob runs this (`infra/kubernetes/trainer/sweeper.yaml`).
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from codetr.launch.trainjob import HEARTBEAT, parse_time

if TYPE_CHECKING:
    from codetr.launch.kubernetes_api import KubernetesApi

UNWATCHED = timedelta(hours=2)
"""Longer than a launcher takes to start again after its pod was lost, or bears with a server that is away."""
KEPT = timedelta(days=7)
"""For which an ended job can be looked at."""


def sweep(
    api: KubernetesApi, *, unwatched: timedelta = UNWATCHED, kept: timedelta = KEPT, now: datetime | None = None
) -> list[str]:
    """Delete jobs of codetr in a namespace.

    Args:
        api: the namespace.
        unwatched: a running job is deleted when no launcher has watched it for this long.
        kept: an ended job is deleted after this time.
        now: the time; None for that of the clock.

    Returns:
        The names of those that were deleted.

    Raises:
        UserError: there are no permissions.
        RunFailed: the cluster does not answer.
    """
    now = now or datetime.now(UTC)
    deleted = []
    for job in api.jobs():
        ended = _ended(job)
        since, limit = (ended, kept) if ended else (_watched(job), unwatched)
        if now - since > limit:
            api.delete_job(job)
            deleted.append(str(job["metadata"]["name"]))
    return deleted


def _watched(job: dict[str, Any]) -> datetime:
    """Return when a launcher watched a job last; a damaged time counts as the job's creation."""
    text = (job["metadata"].get("annotations") or {}).get(HEARTBEAT)
    created = parse_time(job["metadata"].get("creationTimestamp"))
    try:
        return max(datetime.fromisoformat(text or ""), created)
    except (ValueError, TypeError):
        return created


def _ended(job: dict[str, Any]) -> datetime | None:
    for condition in (job.get("status") or {}).get("conditions") or []:
        if condition["type"] in ("Complete", "Failed") and condition.get("status") == "True":
            return parse_time(condition.get("lastTransitionTime"))
    return None
