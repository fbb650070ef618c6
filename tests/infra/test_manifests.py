"""Kubernetes objects are valid, strictly (an unknown field is an error), and agree with one another."""

from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from codetr.core.version import __version__
from tests.support.paths import ROOT

KUBERNETES = ROOT / "infra/kubernetes"


def documents(path: Path) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(path.read_text(encoding="utf-8")))


def kustomization(folder: str) -> dict[str, Any]:
    return documents(KUBERNETES / folder / "kustomization.yaml")[0]


BASE = [
    pytest.param(document, id=f"{document['kind']}-{document['metadata']['name']}")
    for name in kustomization("base")["resources"]
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


def test_every_resource_file_is_listed() -> None:
    files = {path.name for path in (KUBERNETES / "base").glob("*.yaml")} - {"kustomization.yaml"}
    assert files == set(kustomization("base")["resources"])


def test_images_carry_the_version_of_the_package() -> None:
    """Code of one version with an image of another is a mistake that is hard to notice."""
    for folder in ("trainer", "overlays/production"):
        assert [image["newTag"] for image in kustomization(folder)["images"]] == [__version__]
