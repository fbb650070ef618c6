"""A job as a TrainJob of Kubeflow Trainer v2.

The runtime (`infra/kubernetes/trainer/`) says how pods fail and restart together; the TrainJob adds what differs
between clusters and runs. `docs/how-to/train/clusters.md` shows both.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from codetr.launch.job import Job
from codetr.launch.spec import LaunchSpec, Network, Volume

API_VERSION = "trainer.kubeflow.org/v1alpha1"
MANAGER = "codetr.dev/launch"
"""Who owns the patch of the runtime."""

JOB_LABEL = "codetr.dev/job"
"""Label of all attempts of a job: its name."""
ATTEMPT_LABEL = "codetr.dev/attempt"
OUTPUT_LABEL = "codetr.dev/output"
"""Label: digest of the path that the job writes."""
DIGEST = "codetr.dev/digest"
"""Annotation: the digest of the job; a TrainJob without it, or with another one, is not the launcher's."""
RUN = "codetr.dev/run"
"""Annotation and label: the name of the run that the job belongs to; the label is what `run_label` makes of it."""
HEARTBEAT = "codetr.dev/heartbeat"
"""Annotation: when the launcher last watched. The sweeper deletes a job that is not watched any more."""

NODE = "node"
"""The runtime's replicated job, and its container."""

_OTHER = re.compile(r"[^-A-Za-z0-9_.]+")
_MAX_LABEL = 63

_FABRICS = {"efa": "vpc.amazonaws.com/efa", "infiniband": "rdma/rdma_shared_device_a"}


def trainjob(job: Job, attempt: int, *, seconds: int, owner: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Return the TrainJob of an attempt.

    Args:
        job: what to run.
        attempt: its number, from 0.
        seconds: that it may take.
        owner: name and uid of the pod that starts it; the cluster deletes the job with that pod. None for no pod.
    """
    spec = job.spec
    metadata: dict[str, Any] = {
        "name": job.attempt_name(attempt),
        "labels": {
            JOB_LABEL: job.name,
            ATTEMPT_LABEL: str(attempt),
            OUTPUT_LABEL: output_label(job),
            RUN: run_label(job.run),
            **_queue_labels(spec),
        },
        "annotations": {DIGEST: job.digest, RUN: job.run, HEARTBEAT: timestamp()},
    }
    if owner is not None:
        metadata["ownerReferences"] = [owner_reference(owner)]
    return {
        "apiVersion": API_VERSION,
        "kind": "TrainJob",
        "metadata": metadata,
        "spec": {
            "runtimeRef": {
                "apiGroup": "trainer.kubeflow.org",
                "kind": "ClusterTrainingRuntime",
                "name": spec.runtime,
            },
            # The cluster ends the job even if nothing else does.
            "activeDeadlineSeconds": seconds,
            "trainer": {
                "image": spec.image,
                "numNodes": spec.nodes,
                "numProcPerNode": spec.processes,
                "command": ["python", "-m", "codetr"],
                "args": [*job.arguments, "--nproc", str(spec.processes)],
                "env": _environment(spec),
                "resourcesPerNode": _resources(spec),
            },
            "runtimePatches": [{"manager": MANAGER, "trainingRuntimeSpec": _patch(spec)}],
        },
    }


def output_label(job: Job) -> str:
    """Return the label of all jobs that write the same folder."""
    return hashlib.sha256(job.output.encode()).hexdigest()[:16]


def run_label(run: str) -> str:
    """Return the name of a run as the value of a label: other characters become dashes, and long names are cut."""
    return _OTHER.sub("-", run)[:_MAX_LABEL].strip("-_.")


def owner_reference(owner: Mapping[str, str]) -> dict[str, Any]:
    """Return the reference that ties a job to the pod that watches it, without delaying the pod's own end."""
    return {"apiVersion": "v1", "kind": "Pod", "name": owner["name"], "uid": owner["uid"], "blockOwnerDeletion": False}


def timestamp() -> str:
    """Return the time as Kubernetes writes it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def parse_time(text: str | None) -> datetime:
    """Return a time as Kubernetes writes it; the present for one that is missing or damaged."""
    try:
        parsed = datetime.fromisoformat(text or "")
    except ValueError:
        return datetime.now(UTC)
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)


def _queue_labels(spec: LaunchSpec) -> dict[str, str]:
    labels = {}
    if spec.queue:
        labels["kueue.x-k8s.io/queue-name"] = spec.queue
    if spec.priority:
        labels["kueue.x-k8s.io/priority-class"] = spec.priority
    return labels


def _environment(spec: LaunchSpec) -> list[dict[str, Any]]:
    values = {
        "OMP_NUM_THREADS": "1",
        # torchrun kills its processes so many seconds after a signal: before the pod's grace period ends.
        "TORCH_ELASTIC_SHUTDOWN_TIMEOUT": str(max(spec.grace_seconds - 30, spec.grace_seconds // 2)),
        **network_environment(spec.network),
        **spec.variables,
    }
    plain = [{"name": name, "value": value} for name, value in sorted(values.items())]
    secret = [
        {"name": name, "valueFrom": {"secretKeyRef": {"name": value.secret, "key": value.key}}}
        for name, value in sorted(spec.secrets.items())
    ]
    return plain + secret


def network_environment(network: Network) -> dict[str, str]:
    """Return the variables that make NCCL and gloo use a network."""
    values: dict[str, str] = {}
    if network.interface:
        values |= {"NCCL_SOCKET_IFNAME": network.interface, "GLOO_SOCKET_IFNAME": network.interface}
    match network.profile:
        case "tcp":
            values["NCCL_IB_DISABLE"] = "1"
        case "efa":
            values |= {"FI_PROVIDER": "efa", "FI_EFA_USE_DEVICE_RDMA": "1", "FI_EFA_FORK_SAFE": "1"}
        case "infiniband":
            values["NCCL_IB_DISABLE"] = "0"
    return values


def _resources(spec: LaunchSpec) -> dict[str, Any]:
    resources = spec.resources
    # Devices cannot be overcommitted: request and limit are equal.
    devices: dict[str, Any] = {}
    if resources.accelerators:
        devices[resources.accelerator] = resources.accelerators
    if spec.network.rdma_devices:
        devices[spec.network.rdma or _FABRICS[spec.network.profile]] = spec.network.rdma_devices
    memory = {"memory": resources.memory, **devices}
    return {"requests": {"cpu": resources.cpu, **memory}, "limits": memory}


def _patch(spec: LaunchSpec) -> dict[str, Any]:
    volumes: list[dict[str, Any]] = [
        {"name": f"volume-{number}", "persistentVolumeClaim": {"claimName": volume.claim}}
        for number, volume in enumerate(spec.volumes)
    ]
    volumes.append({"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": spec.resources.shared_memory}})
    mounts = [_mount(number, volume) for number, volume in enumerate(spec.volumes)]
    container: dict[str, Any] = {
        "name": NODE,
        "volumeMounts": [*mounts, {"name": "shm", "mountPath": "/dev/shm"}],
    }
    if spec.network.profile in _FABRICS:
        # Adapters register memory, which must not be swapped out.
        container["securityContext"] = {"capabilities": {"add": ["IPC_LOCK"]}}
    pod: dict[str, Any] = {
        "terminationGracePeriodSeconds": spec.grace_seconds,
        "containers": [container],
        "volumes": volumes,
    }
    if spec.service_account:
        pod["serviceAccountName"] = spec.service_account
    if spec.image_pull_secrets:
        pod["imagePullSecrets"] = [{"name": name} for name in spec.image_pull_secrets]
    if spec.node_selector:
        pod["nodeSelector"] = dict(spec.node_selector)
    if spec.tolerations:
        pod["tolerations"] = [toleration.model_dump(exclude_none=True) for toleration in spec.tolerations]
    return {
        "template": {"spec": {"replicatedJobs": [{"name": NODE, "template": {"spec": {"template": {"spec": pod}}}}]}}
    }


def _mount(number: int, volume: Volume) -> dict[str, Any]:
    mount: dict[str, Any] = {"name": f"volume-{number}", "mountPath": volume.path}
    return {**mount, "readOnly": True} if volume.read_only else mount
