"""The objects of operators are accepted by a real API server with the operators' definitions (`make test-cluster`).

CODETR_CRDS may hold the definitions of Kueue, KServe, the Prometheus and the External Secrets Operator beside those of
Kubeflow Trainer; kinds without a definition are skipped.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes import client

from tests.support.cluster.api_server import api_server, define, missing_programs
from tests.support.kustomize import FOLDERS, is_custom, render

pytestmark = [
    pytest.mark.skipif(bool(missing_programs()), reason=f"not there: {', '.join(missing_programs())}"),
    pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed"),
]

TRAINER = "trainer.kubeflow.org"
"""Its definitions are there from the start."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[client.ApiClient]:
    with api_server(tmp_path_factory.mktemp("api-server")) as api:
        yield api.client


def definitions() -> dict[tuple[str, str], dict[str, Any]]:
    parsed = [yaml.safe_load(path.read_text()) for path in Path(os.environ["CODETR_CRDS"]).glob("*.yaml")]
    return {(one["spec"]["group"], one["spec"]["names"]["kind"]): one for one in parsed}


def test_custom_objects_are_accepted(server: client.ApiClient) -> None:
    """Strictly, and by the rules of the definitions."""
    known = definitions()
    objects: dict[tuple[str, str, str], dict[str, Any]] = {}
    for folder in FOLDERS:
        for one in filter(is_custom, render(folder)):
            group = one["apiVersion"].partition("/")[0]
            objects[group, one["kind"], f"{folder}/{one['metadata']['name']}"] = one
    missing = {key[:2] for key in objects} - known.keys()
    defined = set()
    for (group, kind, _), one in objects.items():
        if (group, kind) in missing:
            continue
        definition = known[group, kind]
        if group != TRAINER and (group, kind) not in defined:
            define(server, definition)
            defined.add((group, kind))
        create(server, definition, one)
    if missing:
        pytest.skip(f"no definitions of {sorted(missing)}; the others were accepted")


def test_a_misspelt_field_is_refused(server: client.ApiClient) -> None:
    """The test above would pass on a server that ignores unknown fields."""
    known = definitions()
    [runtime] = [one for one in render("overlays/dev") if one["kind"] == "ClusterTrainingRuntime"]
    runtime["spec"]["mlPolicy"]["numNode"] = 2
    with pytest.raises(client.ApiException, match="numNode"):
        create(server, known[TRAINER, "ClusterTrainingRuntime"], runtime)


def create(server: client.ApiClient, definition: dict[str, Any], body: dict[str, Any]) -> None:
    group, version = body["apiVersion"].split("/")
    plural = definition["spec"]["names"]["plural"]
    api = client.CustomObjectsApi(server)
    options = {"field_validation": "Strict", "dry_run": "All"}
    if definition["spec"]["scope"] == "Cluster":
        api.create_cluster_custom_object(group, version, plural, body, **options)
    else:
        namespace = body["metadata"]["namespace"]
        api.create_namespaced_custom_object(group, version, namespace, plural, body, **options)
