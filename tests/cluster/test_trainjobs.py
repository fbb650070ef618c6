"""TrainJobs on a real Kubernetes API server with the definitions of Kubeflow Trainer (`make test-cluster`)."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest
import yaml
from kubernetes import client

from codetr.core.errors import UserError
from codetr.launch.kubernetes_api import AlreadyExistsError, KubernetesApi
from codetr.launch.sweep import sweep
from codetr.launch.trainjob import HEARTBEAT, trainjob
from codetr.launch.trainjob_launcher import TrainJobLauncher
from tests.launch.test_trainjob import EVERYTHING
from tests.support.cluster.api_server import api_server, missing_programs
from tests.support.launch.specs import cluster, job
from tests.support.paths import ROOT

pytestmark = pytest.mark.skipif(bool(missing_programs()), reason=f"not there: {', '.join(missing_programs())}")

POD = {"CODETR_POD_NAME": "launcher", "CODETR_POD_UID": "00000000-0000-0000-0000-000000000001"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KubernetesApi]:
    with api_server(tmp_path_factory.mktemp("api-server")) as api:
        yield api


@pytest.fixture
def api(server: KubernetesApi) -> Iterator[KubernetesApi]:
    yield server
    for one in server.jobs():
        server.delete_job(one)


def test_the_runtime_is_accepted(api: KubernetesApi) -> None:
    """Strictly, and by the rules of its definition."""
    runtime = yaml.safe_load((ROOT / "infra/kubernetes/trainer/runtime.yaml").read_text())
    client.CustomObjectsApi(api.client).create_cluster_custom_object(
        "trainer.kubeflow.org", "v1alpha1", "clustertrainingruntimes", runtime, field_validation="Strict"
    )


def test_jobs_with_every_setting_are_accepted(api: KubernetesApi) -> None:
    for settings in ({}, EVERYTHING):
        one = job(cluster(**settings), run=f"run {len(settings)}")
        api.create_job(trainjob(one, 0, seconds=3600, owner={"name": "launcher", "uid": POD["CODETR_POD_UID"]}))
    assert len(api.jobs()) == 2


def test_a_misspelt_field_is_refused(api: KubernetesApi) -> None:
    wrong = trainjob(job(), 0, seconds=60)
    wrong["spec"]["trainer"]["numNode"] = 3
    with pytest.raises(UserError, match=r'unknown field "spec\.trainer\.numNode"'):
        api.create_job(wrong)


def test_a_second_launcher_adopts_the_job(api: KubernetesApi) -> None:
    TrainJobLauncher(api, environment=POD).start(job(), 0, seconds=3600)
    with pytest.raises(AlreadyExistsError):
        api.create_job(trainjob(job(), 0, seconds=3600))
    [before] = api.jobs()
    api.annotate_job(before["metadata"]["name"], {"annotations": {HEARTBEAT: "2020-01-01T00:00:00Z"}})
    TrainJobLauncher(api, environment={}).start(job(), 0, seconds=3600)
    [after] = api.jobs()
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    assert after["metadata"]["annotations"][HEARTBEAT] > "2026"
    assert "ownerReferences" in before["metadata"]
    assert "ownerReferences" not in after["metadata"]


def test_only_the_job_that_was_listed_is_deleted(api: KubernetesApi) -> None:
    launcher = TrainJobLauncher(api, environment={})
    launcher.start(job(), 0, seconds=3600)
    [listed] = api.jobs()
    launcher.cancel(job())
    launcher.start(job(), 0, seconds=3600)
    api.delete_job(listed)
    assert len(api.jobs()) == 1
    assert sweep(api, unwatched=timedelta(hours=1)) == []
    assert sweep(api, unwatched=timedelta(seconds=-60)) == [job().attempt_name(0)]
    assert api.jobs() == []
