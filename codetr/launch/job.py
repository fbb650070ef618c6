"""The identity of a job: what makes two starts the same job, so that the second one finds the first."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from functools import cached_property

from codetr.launch.spec import LaunchSpec

RUN_VARIABLE = "CODETR_RUN"
"""Environment variable of a pipeline's tasks: the name of the run that their jobs belong to."""

MAX_NAME = 40
"""Kubernetes appends names of jobs and pods to it, within 63 characters."""
_DIGEST = 10
_OTHER = re.compile(r"[^a-z0-9]+")


@dataclass(frozen=True)
class Job:
    """A command of codetr to run on a cluster.

    Attributes:
        run: the name of the run it belongs to.
        arguments: of `codetr`, e.g. `("train", "--recipe", "tiny", …)`; paths are those of the cluster's volumes.
        output: the folder that it writes, there.
        spec: where and with what.
        inputs: digests of what it reads, by name; the same paths with other contents are another job.
    """

    run: str
    arguments: tuple[str, ...]
    output: str
    spec: LaunchSpec
    inputs: tuple[tuple[str, str], ...] = ()

    @cached_property
    def digest(self) -> str:
        """Digest of what the job computes: not of how often it may be restarted, nor of what it waits for."""
        spec = self.spec.model_dump(
            mode="json", exclude={"budget", "queue", "priority", "grace_seconds", "hang_minutes"}
        )
        text = json.dumps([self.run, self.arguments, spec, self.inputs], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def name(self) -> str:
        """Its name on the cluster: derived from run and digest, so the same job has it again after any crash."""
        readable = _OTHER.sub("-", self.run.lower()).strip("-")
        head = f"codetr-{readable}"[: MAX_NAME - _DIGEST - 1].rstrip("-")
        return f"{head}-{self.digest[:_DIGEST]}"

    def attempt_name(self, attempt: int) -> str:
        """Return the name of the attempt with a number, from 0."""
        return f"{self.name}-{attempt}"
