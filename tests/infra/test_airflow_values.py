"""The values for Airflow's chart fit the image, the DAGs, and the permissions. The chart itself is not needed."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from codetr.core.version import __version__
from tests.support.paths import ROOT

FOLDER = ROOT / "infra/helm/airflow"
VALUES = yaml.safe_load((FOLDER / "values.yaml").read_text())
PROD = yaml.safe_load((FOLDER / "values-prod.yaml").read_text())
DOCKERFILE = (ROOT / "infra/containers/airflow.Dockerfile").read_text()


def test_versions_are_those_of_the_image() -> None:
    """The chart decides by airflowVersion which commands it starts."""
    assert VALUES["defaultAirflowTag"] == __version__
    assert f"apache-airflow=={VALUES['airflowVersion']}\n" in (ROOT / "requirements/airflow.txt").read_text()


def test_the_user_is_that_of_the_image() -> None:
    pod = VALUES["securityContexts"]["pod"]
    assert f"--uid {pod['runAsUser']} --gid {pod['runAsGroup']} airflow" in DOCKERFILE
    assert f"USER {pod['runAsUser']}" in DOCKERFILE
    assert VALUES["securityContexts"]["containers"]["allowPrivilegeEscalation"] is False


def test_the_accounts_are_those_with_permissions() -> None:
    """A missing permission shows when the first scheduled run is submitted."""
    documents = yaml.safe_load_all((ROOT / "infra/kubernetes/base/access.yaml").read_text())
    [binding] = [
        one for one in documents if (one["kind"], one["metadata"]["name"]) == ("RoleBinding", "codetr-airflow")
    ]
    allowed = {subject["name"] for subject in binding["subjects"]}
    assert allowed == {VALUES[name]["serviceAccount"]["name"] for name in ("scheduler", "triggerer")}
    assert {subject["namespace"] for subject in binding["subjects"]} == {"airflow"}


def test_the_token_is_where_the_environment_says() -> None:
    environment = {one["name"]: one["value"] for one in VALUES["env"]}
    [mount] = VALUES["volumeMounts"]
    [volume] = VALUES["volumes"]
    [source] = volume["projected"]["sources"]
    assert mount["name"] == volume["name"]
    token = source["serviceAccountToken"]
    assert environment["KF_PIPELINES_SA_TOKEN_PATH"] == f"{mount['mountPath']}/{token['path']}"
    assert token["audience"] == "pipelines.kubeflow.org"


def test_the_variables_are_those_that_dags_and_pipelines_read() -> None:
    """A misspelt one is ignored, and the default would start the pipeline in the scheduler's pod."""
    code = "".join(path.read_text() for folder in ("dags", "pipelines") for path in (ROOT / folder).glob("*.py"))
    for one in VALUES["env"]:
        assert one["name"] in code, one["name"]


@pytest.mark.parametrize("values", [VALUES, PROD], ids=["values", "values-prod"])
def test_no_secret_is_in_the_repository(values: dict[str, Any]) -> None:
    assert not {"fernetKey", "jwtSecret", "apiSecretKey", "webserverSecretKey"} & values.keys()
    assert "metadataConnection" not in values.get("data", {})


def test_production_has_no_key_that_is_generated() -> None:
    assert {"fernetKeySecretName", "jwtSecretName", "apiSecretKeySecretName"} <= PROD.keys()
    assert PROD["postgresql"]["enabled"] is False
    assert PROD["data"]["metadataSecretName"]
