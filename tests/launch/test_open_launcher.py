"""The cluster of a launcher: that of the pod, of kubectl's context, or none."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from codetr.core.errors import UserError
from codetr.launch.kubernetes_api import KubernetesApi
from codetr.launch.local_launcher import LocalLauncher
from codetr.launch.open_launcher import open_kubernetes, open_launcher
from codetr.launch.spec import LaunchSpec
from codetr.launch.trainjob_launcher import TrainJobLauncher
from tests.support.launch.specs import cluster


@pytest.fixture
def config(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    path = tmp_path / "config"
    monkeypatch.setenv("KUBECONFIG", str(path))
    return path


def write(path: Path, namespace: str | None) -> None:
    context = {"cluster": "one", "user": "one"} | ({"namespace": namespace} if namespace else {})
    values = {
        "current-context": "one",
        "contexts": [{"name": "one", "context": context}],
        "clusters": [{"name": "one", "cluster": {"server": "https://cluster.example:6443"}}],
        "users": [{"name": "one", "user": {}}],
    }
    path.write_text(yaml.safe_dump(values))


def test_the_namespace_is_the_given_one_or_that_of_the_context(config: Path) -> None:
    write(config, "team")
    assert open_kubernetes(None).namespace == "team"
    assert open_kubernetes("other").namespace == "other"
    write(config, None)
    assert open_kubernetes(None).namespace == "default"


@pytest.mark.parametrize("content", [None, "", "clusters: 7", "[", "current-context: nowhere\ncontexts: []"])
def test_without_a_working_configuration_it_says_what_to_do(config: Path, content: str | None) -> None:
    if content is not None:
        config.write_text(content)
    with pytest.raises(UserError, match=r"no cluster is configured.*Set KUBECONFIG"):
        open_kubernetes(None)


def test_in_a_pod_it_is_the_pods_cluster(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The files of the service account, which the kubelet mounts."""
    for name, text in {"namespace": "team\n", "token": "secret", "ca.crt": "certificate"}.items():
        (tmp_path / name).write_text(text)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    api = KubernetesApi.connect(service_account=tmp_path)
    assert (api.namespace, api.address) == ("team", "https://10.0.0.1:443")


def test_the_launcher_is_the_one_that_the_spec_names(config: Path) -> None:
    write(config, "team")
    assert isinstance(open_launcher(cluster()), TrainJobLauncher)
    assert isinstance(open_launcher(LaunchSpec(launcher="local")), LocalLauncher)


@pytest.mark.parametrize("call", [lambda: open_kubernetes(None), lambda: open_launcher(cluster())])
def test_without_the_package_it_says_how_to_install_it(
    call: Callable[[], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`make demo` does not install it."""
    for name in ("codetr.launch.kubernetes_api", "codetr.launch.trainjob_launcher"):
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "kubernetes", None)
    with pytest.raises(UserError, match=r"needs kubernetes, which is not installed.*\[kubeflow\]"):
        call()
