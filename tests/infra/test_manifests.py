"""Kubernetes objects are valid, strictly (an unknown field is an error), and agree with one another."""

from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import typer
import yaml

from codetr.cli.app import app
from codetr.core.version import __version__
from codetr.launch.spec import LaunchSpec
from codetr.launch.trainjob import NODE
from tests.support.paths import ROOT

KUBERNETES = ROOT / "infra/kubernetes"


def documents(path: Path) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(path.read_text(encoding="utf-8")))


def kustomization(folder: str) -> dict[str, Any]:
    return documents(KUBERNETES / folder / "kustomization.yaml")[0]


BASE = [
    pytest.param(document, id=f"{document['kind']}-{document['metadata']['name']}")
    for name in kustomization("base")["resources"]
    if name.endswith(".yaml")
    for document in documents(KUBERNETES / "base" / name)
]


@pytest.mark.parametrize("document", BASE)
def test_base_is_valid(document: dict[str, Any]) -> None:
    kubernetes_validate.validate(document, "1.33", strict=True)


def test_strict_validation_notices_a_misspelt_field() -> None:
    document = documents(KUBERNETES / "base/data.yaml")[0]
    document["spec"]["accessMode"] = document["spec"].pop("accessModes")
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(document, "1.33", strict=True)


@pytest.mark.parametrize("path", sorted(KUBERNETES.rglob("kustomization.yaml")), ids=lambda path: path.parent.name)
def test_every_file_is_listed(path: Path) -> None:
    """A file that no kustomization names is not applied, and nothing says so."""
    parsed = documents(path)[0]
    listed = set(parsed.get("resources", []))
    listed |= {name for one in parsed.get("configMapGenerator", []) for name in one["files"]}
    assert {one.name for one in path.parent.glob("*.yaml")} - {"kustomization.yaml"} <= listed


def test_images_carry_the_version_of_the_package() -> None:
    """Code of one version with an image of another is a mistake that is hard to notice."""
    tags = {
        folder: [image["newTag"] for image in kustomization(folder)["images"]]
        for folder in ("trainer", "overlays/prod", "serving/base")
    }
    assert tags == {"trainer": [__version__], "overlays/prod": [__version__], "serving/base": [f"{__version__}-cpu"]}


def test_training_pods_are_those_that_the_budget_and_the_policies_select() -> None:
    """A selector that selects nothing protects nothing."""
    pods = {"jobset.sigs.k8s.io/replicatedjob-name": NODE}
    [budget] = documents(KUBERNETES / "base/disruption.yaml")
    assert budget["spec"]["selector"]["matchLabels"] == pods
    limits = LaunchSpec.model_fields["nodes"].metadata
    assert budget["spec"]["minAvailable"] > max(getattr(one, "le", 0) for one in limits)
    policies = {one["metadata"]["name"]: one["spec"] for one in documents(policy_file())}
    assert policies["training-nodes"]["podSelector"]["matchLabels"] == pods
    [service] = documents(KUBERNETES / "serving/base/inference_service.yaml")
    assert policies["serving"]["podSelector"]["matchLabels"].items() <= service["spec"]["predictor"]["labels"].items()


def policy_file() -> Path:
    return KUBERNETES / "components/network-policies/policies.yaml"


def test_no_role_has_wildcards_or_reads_secrets() -> None:
    roles = [
        document
        for path in KUBERNETES.rglob("*.yaml")
        for document in documents(path)
        if document.get("kind") in ("Role", "ClusterRole")
    ]
    assert len(roles) >= 4
    for role in roles:
        for rule in role["rules"]:
            named = {*rule["apiGroups"], *rule["resources"], *rule["verbs"]}
            assert not named & {"*", "secrets", "impersonate", "escalate", "bind"}, role["metadata"]["name"]


def test_the_model_server_starts_with_options_that_exist() -> None:
    [service] = documents(KUBERNETES / "serving/base/inference_service.yaml")
    [container] = service["spec"]["predictor"]["containers"]
    program, command = container["command"]
    assert program == "codetr"
    [found] = [one for one in app.registered_commands if one.callback is not None and one.callback.__name__ == command]
    parameters = typer.main.get_command_from_info(found, pretty_exceptions_short=True, rich_markup_mode=None).params
    options = {name for parameter in parameters for name in parameter.opts}
    assert {word for word in container["args"] if word.startswith("--")} <= options
    port = container["args"][container["args"].index("--port") + 1]
    assert {str(container["ports"][0]["containerPort"])} == {port}
    probes = [container[f"{kind}Probe"]["httpGet"] for kind in ("startup", "readiness", "liveness")]
    assert {(str(one["port"]), one["path"].rpartition("/")[0]) for one in probes} == {(port, "/v2/health")}
