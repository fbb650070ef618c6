"""Run jobs as TrainJobs of Kubeflow Trainer v2."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

from codetr.core.errors import RunFailed, UserError
from codetr.launch.job import Job
from codetr.launch.kubernetes_api import AlreadyExistsError, KubernetesApi
from codetr.launch.observe import observe
from codetr.launch.state import AttemptState
from codetr.launch.trainjob import (
    ATTEMPT_LABEL,
    DIGEST,
    HEARTBEAT,
    JOB_LABEL,
    OUTPUT_LABEL,
    output_label,
    owner_reference,
    timestamp,
    trainjob,
)

POD_VARIABLES = ("CODETR_POD_NAME", "CODETR_POD_UID")
"""Environment variables that tell a pod its own name and uid (the downward API)."""


class TrainJobLauncher:
    """Runs attempts as TrainJobs; see `codetr.launch.launcher.Launcher`."""

    def __init__(self, api: KubernetesApi, *, environment: Mapping[str, str] = os.environ) -> None:
        self._api = api
        name, uid = (environment.get(variable) for variable in POD_VARIABLES)
        self._owner = {"name": name, "uid": uid} if name and uid else None
        self._shown: dict[str, str] = {}

    def attempts(self, job: Job) -> int:
        """Return how many attempts the cluster has."""
        found = self._api.jobs(job.name)
        for one in found:
            self._require_ours(one, job)
        return max((int(one["metadata"]["labels"][ATTEMPT_LABEL]) + 1 for one in found), default=0)

    def start(self, job: Job, attempt: int, *, seconds: int) -> None:
        """Create the TrainJob of an attempt, or adopt it; a folder that another job writes is refused."""
        if self._find(job, attempt) is None:
            self._require_free_output(job)
            with suppress(AlreadyExistsError):
                self._api.create_job(trainjob(job, attempt, seconds=seconds, owner=self._owner))
                return
        self._adopt(job, attempt)

    def state(self, job: Job, attempt: int) -> AttemptState | None:
        """Return the state of the TrainJob and its pods."""
        found = self._find(job, attempt)
        if found is None or found["metadata"].get("deletionTimestamp"):
            return None
        return observe(found, self._api.pods(job.attempt_name(attempt)), self._last_lines)

    def log(self, job: Job, attempt: int) -> Iterator[str]:
        """Yield new lines of all pods, each with the end of the pod's name if there are several."""
        pods: list[str] = []
        with suppress(RunFailed):  # the next call shows what this one could not read
            pods = [pod["metadata"]["name"] for pod in self._api.pods(job.attempt_name(attempt))]
        for pod in sorted(pods):
            prefix = f"{pod.removeprefix(job.attempt_name(attempt) + '-')}: " if len(pods) > 1 else ""
            for time, line in self._api.log(pod, after=self._shown.get(pod)):
                self._shown[pod] = time
                yield f"{prefix}{line}"

    def heartbeat(self, job: Job, attempt: int) -> None:
        """Write the time into the TrainJob."""
        self._api.annotate_job(job.attempt_name(attempt), {"annotations": {HEARTBEAT: timestamp()}})

    def cancel(self, job: Job) -> None:
        """Delete the TrainJobs of all attempts."""
        for found in self._api.jobs(job.name):
            self._require_ours(found, job)
            self._api.delete_job(found)

    def _last_lines(self, pod: str) -> tuple[str, ...]:
        return tuple(line for _, line in self._api.log(pod))

    def _require_free_output(self, job: Job) -> None:
        """Refuse a job that would write the folder of one that runs: each would take the other's checkpoints away."""
        for found in self._api.jobs():
            labels = found["metadata"]["labels"]
            other = labels.get(OUTPUT_LABEL) == output_label(job) and labels[JOB_LABEL] != job.name
            if other and not observe(found, (), lambda _: ()).over:
                name = found["metadata"]["name"]
                hint = f"Wait for it, `codetr jobs cancel {name}`, or give another output."
                raise UserError(f"the job {name}, which runs, writes it", where=job.output, hint=hint)

    def _adopt(self, job: Job, attempt: int) -> None:
        """Tie a TrainJob that another process has created to this one."""
        found = self._find(job, attempt)
        if found is None:
            name = job.attempt_name(attempt)
            raise UserError(f"a TrainJob '{name}' exists that codetr did not start", hint="Delete or rename it.")
        metadata: dict[str, Any] = {"annotations": {HEARTBEAT: timestamp()}}
        # Without a pod of its own, this process must not leave the job to the end of an earlier one.
        metadata["ownerReferences"] = [owner_reference(self._owner)] if self._owner else None
        self._api.annotate_job(job.attempt_name(attempt), metadata)

    def _find(self, job: Job, attempt: int) -> dict[str, Any] | None:
        name = job.attempt_name(attempt)
        found = next((one for one in self._api.jobs(job.name) if one["metadata"]["name"] == name), None)
        if found is not None:
            self._require_ours(found, job)
        return found

    @staticmethod
    def _require_ours(found: Mapping[str, Any], job: Job) -> None:
        digest = (found["metadata"].get("annotations") or {}).get(DIGEST)
        if digest != job.digest:
            problem = f"has the name of this run's job, but another digest ({digest or 'none'}, not {job.digest})"
            raise UserError(problem, where=f"TrainJob {found['metadata']['name']}", hint="Give the run another name.")
