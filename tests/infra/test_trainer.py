"""What training on a cluster needs there: the runtime, the permissions, and the sweeper."""

from __future__ import annotations

import re
from typing import Any

import kubernetes_validate
import pytest
import yaml
from kubeflow_trainer_api.models import TrainerV1alpha1ClusterTrainingRuntime

from codetr.core.exit_codes import ExitCode
from codetr.launch.spec import LaunchSpec
from codetr.launch.supervise import Pace, supervise
from codetr.launch.sweep import sweep
from codetr.launch.trainjob_launcher import TrainJobLauncher
from tests.support.launch.kubernetes_server import kubernetes_server
from tests.support.launch.specs import job
from tests.support.paths import ROOT

FOLDER = ROOT / "infra/kubernetes/trainer"


def documents(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((FOLDER / f"{name}.yaml").read_text(encoding="utf-8")))


RUNTIME = documents("runtime")[0]
JOBSET = RUNTIME["spec"]["template"]["spec"]
JOB = JOBSET["replicatedJobs"][0]["template"]["spec"]


@pytest.mark.parametrize("document", documents("rbac") + documents("sweeper"), ids=lambda one: one["kind"])
def test_objects_are_valid(document: dict[str, Any]) -> None:
    kubernetes_validate.validate(document, "1.33", strict=True)


def test_the_runtime_has_only_fields_of_the_trainer_api() -> None:
    parsed = TrainerV1alpha1ClusterTrainingRuntime.from_dict(RUNTIME)
    assert parsed is not None
    assert parsed.to_dict() == RUNTIME


def test_its_job_is_a_valid_job() -> None:
    """The API server checks the runtime's job only when a run creates it."""
    valid = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "node"}, "spec": JOB}
    kubernetes_validate.validate(valid, "1.33", strict=True)


def test_pods_get_no_proxy_of_istio() -> None:
    """A profile of Kubeflow injects one, which goes on when the container has ended: the job would never end."""
    [sweeper] = documents("sweeper")
    for template in (JOB["template"], sweeper["spec"]["jobTemplate"]["spec"]["template"]):
        assert template["metadata"]["labels"]["sidecar.istio.io/inject"] == "false"


def test_specs_name_this_runtime() -> None:
    assert LaunchSpec.model_fields["runtime"].default == RUNTIME["metadata"]["name"]


def reaction(message: str) -> str:
    """Return what JobSet does with a job that failed by its pod failure policy: the first rule that matches."""
    for rule in JOBSET["failurePolicy"]["rules"]:
        if any(re.search(pattern, message) for pattern in rule["onJobFailureMessagePatterns"]):
            return str(rule["action"])
    return "RestartJobSet"


@pytest.mark.parametrize(
    ("message", "action"),
    [
        (f"failed with exit code {ExitCode.MISTAKE} matching FailJob rule at index 0", "FailJobSet"),
        (
            f"failed with exit code {ExitCode.PREEMPTED} matching FailJob rule at index 0",
            "RestartJobSetAndIgnoreMaxRestarts",
        ),
        ("failed with exit code 255 matching FailJob rule at index 0", "RestartJobSet"),
        ("has condition DisruptionTarget matching FailJob rule at index 1", "RestartJobSetAndIgnoreMaxRestarts"),
    ],
)
def test_the_exit_code_decides_whether_all_pods_start_again(message: str, action: str) -> None:
    """The messages are those of Kubernetes' job controller."""
    assert reaction(f"Container node for pod team/x-node-0-0 {message}") == action


def test_codes_that_have_a_rule_fail_the_job_by_its_policy() -> None:
    """Any other code fails it by its back-off limit, which no rule of JobSet names."""
    [codes] = [rule["onExitCodes"] for rule in JOB["podFailurePolicy"]["rules"] if "onExitCodes" in rule]
    assert set(codes["values"]) == {ExitCode.MISTAKE, ExitCode.PREEMPTED}
    assert JOB["backoffLimit"] == 0
    assert JOB["template"]["spec"]["restartPolicy"] == "Never"


VERBS = {"POST": "create", "GET": "list", "PATCH": "patch", "DELETE": "delete"}


def test_the_role_allows_what_a_launcher_does() -> None:
    """A missing permission shows when a run of hours is to be cleaned up."""
    with kubernetes_server() as server:
        launcher = TrainJobLauncher(server.api(), environment={})
        launcher.start(job(), 0, seconds=3600)
        launcher.start(job(), 0, seconds=3600)
        launcher.heartbeat(job(), 0)
        pod = server.set_pod(job().attempt_name(0), 0, "Running")
        list(launcher.log(job(), 0))
        server.set_condition(job().attempt_name(0), "Complete")
        supervise(launcher, job(), show=lambda _: None, pace=Pace())
        launcher.cancel(job())
        sweep(server.api())
        requests = {(method, path.partition("?")[0].replace(f"/{pod}", "")) for method, path in server.requests}
    [role] = [one for one in documents("rbac") if one["kind"] == "Role"]
    allowed = {(verb, one) for rule in role["rules"] for one in rule["resources"] for verb in rule["verbs"]}
    used = set()
    for method, path in requests:
        resource = "/".join(path.partition("/namespaces/")[2].split("/")[1:])
        if resource.startswith("trainjobs/"):
            resource = "trainjobs"
        used.add(("get" if resource == "pods/log" else VERBS[method], resource))
    assert used <= allowed
    assert {("delete", "trainjobs"), ("patch", "trainjobs"), ("get", "pods/log")} <= used
