"""Every overlay renders, and what it renders is valid."""

import subprocess
from typing import Any

import kubernetes_validate
import pytest
import yaml

from codetr.core.version import __version__
from tests.support.paths import ROOT

KUBERNETES = ROOT / "infra/kubernetes"


def render(folder: str) -> list[dict[str, Any]]:
    result = subprocess.run(["kubectl", "kustomize", KUBERNETES / folder], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return list(yaml.safe_load_all(result.stdout))


@pytest.mark.parametrize("overlay", ["overlays/dev", "overlays/production"])
def test_overlay_is_valid(overlay: str) -> None:
    documents = render(overlay)
    for document in documents:
        kubernetes_validate.validate(document, "1.33", strict=True)
        assert document["metadata"].get("namespace", "codetr") == "codetr"
    [deployment] = [document for document in documents if document["kind"] == "Deployment"]
    pod = deployment["spec"]["template"]["spec"]
    images = {container["image"] for container in pod["containers"] + pod["initContainers"]}
    assert len(images) == 1
    assert ":" in images.pop(), "an image without a tag is whatever was pushed last"


def test_the_trainer_renders_with_its_image() -> None:
    """The runtime's image is a placeholder: each job names its image."""
    documents = {document["kind"]: document for document in render("trainer")}
    pod = documents["CronJob"]["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    assert [container["image"] for container in pod["containers"]] == [f"codetr:{__version__}"]
    assert documents["RoleBinding"]["metadata"]["namespace"] == "codetr"
