"""The TrainJob of an attempt has only fields that the Trainer knows, and everything that the spec names."""

from __future__ import annotations

from typing import Any

from kubeflow_trainer_api.models import TrainerV1alpha1TrainJob

from codetr.launch.trainjob import trainjob
from tests.support.launch.specs import cluster, job

EVERYTHING: dict[str, Any] = {
    "processes": 8,
    "resources": {"cpu": "32", "memory": "256Gi", "accelerators": 8, "shared_memory": "64Gi"},
    "network": {"profile": "efa", "interface": "eth", "rdma_devices": 4},
    "namespace": "team",
    "service_account": "trainer",
    "image_pull_secrets": ["registry"],
    "volumes": [{"claim": "data", "path": "/data"}, {"claim": "images", "path": "/images", "read_only": True}],
    "secrets": {"WANDB_API_KEY": {"secret": "wandb", "key": "api-key"}},
    "environment": {"NCCL_DEBUG": "WARN"},
    "node_selector": {"node.kubernetes.io/instance-type": "p5.48xlarge"},
    "tolerations": [{"key": "nvidia.com/gpu", "effect": "NoSchedule"}],
    "queue": "night",
    "priority": "low",
    "grace_seconds": 240,
    "budget": {"hours": 2},
}


def pod(document: dict[str, Any]) -> dict[str, Any]:
    [patch] = document["spec"]["runtimePatches"]
    [node] = patch["trainingRuntimeSpec"]["template"]["spec"]["replicatedJobs"]
    spec: dict[str, Any] = node["template"]["spec"]["template"]["spec"]
    return spec


def test_only_fields_of_the_trainer_api() -> None:
    """The models ignore fields that they don't know, so what they give back must be what they were given."""
    for settings in ({}, EVERYTHING):
        document = trainjob(job(cluster(**settings)), 0, seconds=7200, owner={"name": "launcher", "uid": "1"})
        parsed = TrainerV1alpha1TrainJob.from_dict(document)
        assert parsed is not None
        assert parsed.to_dict() == document


def test_every_setting_of_the_spec_is_in_the_job() -> None:
    """A setting that is read and not passed on costs a night on the wrong machines."""
    document = trainjob(job(cluster(**EVERYTHING)), 3, seconds=7200)
    trainer = document["spec"]["trainer"]
    assert document["spec"]["activeDeadlineSeconds"] == 7200
    assert (trainer["numNodes"], trainer["numProcPerNode"]) == (2, 8)
    assert trainer["args"] == ["train", "--nproc", "8"]
    assert trainer["resourcesPerNode"]["limits"] == {
        "memory": "256Gi",
        "nvidia.com/gpu": 8,
        "vpc.amazonaws.com/efa": 4,
    }
    environment = {one["name"]: one.get("value", one.get("valueFrom")) for one in trainer["env"]}
    assert environment["WANDB_API_KEY"] == {"secretKeyRef": {"name": "wandb", "key": "api-key"}}
    assert environment["NCCL_SOCKET_IFNAME"] == "eth"
    assert environment["FI_PROVIDER"] == "efa"
    assert environment["NCCL_DEBUG"] == "WARN"
    # torchrun must give up before the kubelet kills it.
    assert int(environment["TORCH_ELASTIC_SHUTDOWN_TIMEOUT"]) < 240
    labels = document["metadata"]["labels"]
    assert labels["kueue.x-k8s.io/queue-name"] == "night"
    assert labels["kueue.x-k8s.io/priority-class"] == "low"
    spec = pod(document)
    assert spec["terminationGracePeriodSeconds"] == 240
    assert spec["serviceAccountName"] == "trainer"
    assert spec["imagePullSecrets"] == [{"name": "registry"}]
    assert spec["nodeSelector"] == EVERYTHING["node_selector"]
    assert spec["tolerations"] == [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]
    [container] = spec["containers"]
    mounts = {mount["mountPath"]: mount.get("readOnly", False) for mount in container["volumeMounts"]}
    assert mounts == {"/data": False, "/images": True, "/dev/shm": False}
    claims = [one["persistentVolumeClaim"]["claimName"] for one in spec["volumes"] if "persistentVolumeClaim" in one]
    assert claims == ["data", "images"]


def test_the_cluster_deletes_the_job_with_the_pod_that_watches_it() -> None:
    document = trainjob(job(), 0, seconds=7200, owner={"name": "launcher", "uid": "u-1"})
    [owner] = document["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["name"], owner["uid"]) == ("Pod", "launcher", "u-1")
    assert "ownerReferences" not in trainjob(job(), 0, seconds=7200)["metadata"]
