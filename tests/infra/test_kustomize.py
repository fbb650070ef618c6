"""Every overlay renders, and what it renders is valid."""

import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from codetr.core.version import __version__
from tests.support.kustomize import FOLDERS, PROFILE, is_custom, render, render_with

CLUSTER_WIDE = {
    "Namespace",
    "ClusterRole",
    "ClusterRoleBinding",
    "ClusterQueue",
    "ClusterTrainingRuntime",
    "Profile",
    "ResourceFlavor",
    "WorkloadPriorityClass",
}


def names(documents: list[dict[str, Any]]) -> set[tuple[str, str]]:
    return {(one["kind"], one["metadata"]["name"]) for one in documents}


@pytest.mark.parametrize("folder", FOLDERS)
def test_is_valid(folder: str) -> None:
    documents = render(folder)
    assert documents
    for document in documents:
        if not is_custom(document):
            kubernetes_validate.validate(document, "1.33", strict=True)
        # Without a namespace an object would land in that of kubectl's context.
        namespace = document["metadata"].get("namespace")
        assert namespace == (None if document["kind"] in CLUSTER_WIDE else "codetr"), document


@pytest.mark.parametrize("folder", FOLDERS)
def test_containers_follow_the_restricted_pod_security_standard(folder: str) -> None:
    """And have a read-only root file system; the image writes below /tmp only."""
    pods = [pod for document in render(folder) for pod in pod_specs(document)]
    assert pods
    for pod in pods:
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        writable = {volume["name"] for volume in pod["volumes"] if "emptyDir" in volume}
        for container in pod["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
            assert mounts["/tmp"] in writable
            name, _, tag = container["image"].rpartition(":")
            assert name, "an image without a tag is whatever was pushed last"
            assert tag in ("dev", __version__, f"{__version__}-cpu")


def pod_specs(value: Any) -> list[dict[str, Any]]:
    """Return every pod specification within an object: what has containers."""
    if isinstance(value, dict):
        found = [value] if isinstance(value.get("containers"), list) else []
        return found + [pod for inner in value.values() for pod in pod_specs(inner)]
    if isinstance(value, list):
        return [pod for inner in value for pod in pod_specs(inner)]
    return []


def test_dev_needs_no_operators() -> None:
    """Kubeflow Trainer is all that has to be there."""
    custom = {one["kind"] for one in render("overlays/dev") if is_custom(one)}
    assert custom == {"ClusterTrainingRuntime"}


def test_prod_has_everything_of_dev_but_its_secrets() -> None:
    dev, prod = names(render("overlays/dev")), names(render("overlays/prod"))
    assert dev - prod == {("Secret", "codetr-wandb"), ("Secret", "codetr-s3")}
    assert not {one for one in prod if one[0] == "Secret"}, "a secret is in the repository"
    assert ("ExternalSecret", "codetr-wandb") in prod


def test_a_profile_replaces_the_namespace(tmp_path: Path) -> None:
    """The profile controller refuses a namespace that somebody else made."""
    found = names(render_with(tmp_path, "overlays/dev", ["components/multi-user"]))
    assert PROFILE in found
    assert ("Namespace", "codetr") not in found


def test_adapters_of_a_fabric_are_allowed_with_rdma_only(tmp_path: Path) -> None:
    """The standard `baseline` refuses pods with IPC_LOCK, which jobs with EFA or InfiniBand have."""

    def enforced(documents: list[dict[str, Any]]) -> str:
        [namespace] = [one for one in documents if one["kind"] == "Namespace"]
        return str(namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"])

    assert enforced(render("overlays/prod")) == "baseline"
    assert enforced(render_with(tmp_path, "overlays/prod", ["components/rdma"])) == "privileged"


def test_bindings_name_roles_and_accounts_that_exist() -> None:
    """A binding to nothing grants nothing, and no server complains."""
    documents = render("overlays/prod")
    found = names(documents)
    for binding in documents:
        if binding["kind"] in ("RoleBinding", "ClusterRoleBinding"):
            assert (binding["roleRef"]["kind"], binding["roleRef"]["name"]) in found
            for subject in binding["subjects"]:
                assert subject["namespace"] in ("codetr", "airflow")
                # Kubeflow makes the one, Airflow's chart the others.
                known = subject["name"] == "default-editor" or subject["namespace"] == "airflow"
                assert known or ("ServiceAccount", subject["name"]) in found


def test_the_queue_gives_what_the_quota_allows() -> None:
    """A quota below the queue's would refuse pods of jobs that Kueue has admitted."""
    documents = {(one["kind"], one["metadata"]["name"]): one for one in render("overlays/prod")}
    quota = documents["ResourceQuota", "codetr"]["spec"]["hard"]["requests.nvidia.com/gpu"]
    [group] = documents["ClusterQueue", "codetr"]["spec"]["resourceGroups"]
    [flavor] = group["flavors"]
    quotas = {one["name"]: one["nominalQuota"] for one in flavor["resources"]}
    assert quotas["nvidia.com/gpu"] == quota
    assert set(quotas) == set(group["coveredResources"])
    assert ("ResourceFlavor", flavor["name"]) in documents
    assert documents["LocalQueue", "codetr"]["spec"]["clusterQueue"] == "codetr"


def test_the_canary_serves_another_version_to_a_part_of_the_requests() -> None:
    def predictor(folder: str) -> dict[str, Any]:
        [service] = [one for one in render(folder) if one["kind"] == "InferenceService"]
        return service["spec"]["predictor"]

    stable, canary = predictor("serving/base"), predictor("serving/canary")
    assert 0 < canary.pop("canaryTrafficPercent") < 50
    assert stable["containers"][0]["args"].pop(1) == "/data/registry@champion"
    assert canary["containers"][0]["args"].pop(1) != "/data/registry@champion"
    assert canary == stable


def test_a_wrong_field_of_a_patch_is_noticed(tmp_path: Path) -> None:
    """The tests above would pass if kubectl accepted everything."""
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump({"resource": ["x"]}))
    result = subprocess.run(["kubectl", "kustomize", tmp_path], capture_output=True, text=True, check=False)
    assert result.returncode != 0
