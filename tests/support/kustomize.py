"""What `kubectl kustomize` makes of the folders of infra/kubernetes."""

from __future__ import annotations

import os
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from tests.support.paths import ROOT

KUBERNETES = ROOT / "infra/kubernetes"
FOLDERS = ("overlays/dev", "overlays/prod", "serving/base", "serving/canary")
PROFILE = ("Profile", "codetr")

_BUILT_IN = {"apps", "batch", "networking.k8s.io", "policy", "rbac.authorization.k8s.io"}


def render(folder: str) -> list[dict[str, Any]]:
    """Return the objects of a folder, new ones with every call."""
    return list(yaml.safe_load_all(_kustomize(KUBERNETES / folder)))


def render_with(folder: Path, base: str, components: list[str]) -> list[dict[str, Any]]:
    """Return the objects of a folder with more components, by an overlay that is written into `folder`."""
    overlay = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": [os.path.relpath(KUBERNETES / base, folder)],
        "components": [os.path.relpath(KUBERNETES / one, folder) for one in components],
    }
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(overlay))
    return list(yaml.safe_load_all(_kustomize(folder)))


def is_custom(document: dict[str, Any]) -> bool:
    """Return whether an object is of a kind that an operator defines."""
    return document["apiVersion"].rpartition("/")[0] not in _BUILT_IN | {""}


@cache
def _kustomize(folder: Path) -> str:
    result = subprocess.run(["kubectl", "kustomize", folder], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout
