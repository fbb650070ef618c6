"""Specs and jobs to launch."""

from typing import Any

from codetr.launch.job import Job
from codetr.launch.spec import LaunchSpec

IMAGE = "registry.example/codetr@sha256:" + "0" * 64


def cluster(**settings: Any) -> LaunchSpec:
    """Return the spec of a cluster with Kubeflow Trainer: two nodes of one process."""
    return LaunchSpec.parse({"launcher": "trainjob", "nodes": 2, "image": IMAGE, **settings})


def job(spec: LaunchSpec | None = None, run: str = "Nightly run 7", arguments: tuple[str, ...] = ("train",)) -> Job:
    """Return a job on a cluster."""
    return Job(run=run, arguments=arguments, output="/data/model", spec=spec or cluster())
