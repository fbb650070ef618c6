"""A real Kubernetes API server for custom resources: apiextensions-apiserver on etcd, with the Trainer's definitions.

It has no pods. The programs are named by environment variables:

    CODETR_APISERVER  the program apiextensions-apiserver, of Kubernetes 1.30 or later
    CODETR_ETCD       the program etcd
    CODETR_CRDS       folder with the files of manifests/base/crds of kubeflow/trainer, and of other operators
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import urllib3
import yaml
from kubernetes import client

from codetr.launch.kubernetes_api import KubernetesApi
from tests.support.cluster.certificate import write_certificate
from tests.support.ports import free_ports

PROGRAMS = ("CODETR_APISERVER", "CODETR_ETCD", "CODETR_CRDS")
NAMESPACE = "team"
_STARTS = 60.0


def missing_programs() -> list[str]:
    """Return the variables that name nothing that exists."""
    return [name for name in PROGRAMS if not Path(os.environ.get(name, "/nowhere")).exists()]


@contextmanager
def api_server(folder: Path) -> Iterator[KubernetesApi]:
    """Run the server in a folder, with the definitions of Kubeflow Trainer, and return a client for a namespace."""
    certificate, key = write_certificate(folder, "administrator", organization="system:masters")
    etcd_port, peer_port, port = free_ports(3)
    etcd, peer = f"http://127.0.0.1:{etcd_port}", f"http://127.0.0.1:{peer_port}"
    configuration = folder / "kubeconfig"
    configuration.write_text(yaml.safe_dump(_kubeconfig(port, certificate, key)))
    commands = [
        [
            os.environ["CODETR_ETCD"],
            *("--data-dir", str(folder / "etcd"), "--listen-client-urls", etcd, "--advertise-client-urls", etcd),
            *("--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer),
            *("--initial-cluster", f"default={peer}"),
        ],
        [
            os.environ["CODETR_APISERVER"],
            *("--etcd-servers", etcd, "--secure-port", str(port), "--bind-address", "127.0.0.1"),
            *("--cert-dir", str(folder / "certificates"), "--client-ca-file", str(certificate)),
            "--authentication-skip-lookup",
            *(f"--{name}={configuration}" for name in ("authentication-kubeconfig", "authorization-kubeconfig")),
            f"--kubeconfig={configuration}",
            "--enable-priority-and-fairness=false",
            "--disable-admission-plugins=NamespaceLifecycle,MutatingAdmissionWebhook,ValidatingAdmissionWebhook,"
            "ValidatingAdmissionPolicy,MutatingAdmissionPolicy",
        ],
    ]
    running = []
    try:
        for number, command in enumerate(commands):
            with (folder / f"{number}.log").open("wb") as log:
                running.append(subprocess.Popen(command, stdout=log, stderr=log))
        settings = client.Configuration(host=f"https://127.0.0.1:{port}")
        settings.cert_file, settings.key_file = str(certificate), str(key)
        # The server makes it when it starts.
        authority = folder / "certificates/apiserver.crt"
        _wait_for(authority.is_file)
        settings.ssl_ca_cert = str(authority)
        api = client.ApiClient(settings)
        for kind in ("clustertrainingruntimes", "trainjobs"):
            define(api, yaml.safe_load(_definition(kind).read_text()))
        yield KubernetesApi(api, NAMESPACE)
    finally:
        for process in reversed(running):
            process.kill()
            process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def _definition(kind: str) -> Path:
    return Path(os.environ["CODETR_CRDS"]) / f"trainer.kubeflow.org_{kind}.yaml"


def define(api: client.ApiClient, definition: Mapping[str, Any]) -> None:
    """Create a custom resource, and wait until the server answers for it."""
    spec = definition["spec"]
    kind = spec["group"], spec["versions"][0]["name"], spec["names"]["plural"]
    _wait_for(lambda: client.ApiextensionsV1Api(api).create_custom_resource_definition(dict(definition)))
    _wait_for(lambda: client.CustomObjectsApi(api).list_cluster_custom_object(*kind))


def _wait_for(condition: Callable[[], object]) -> None:
    """Wait until a condition holds; a server that does not answer yet is no error."""
    deadline = time.monotonic() + _STARTS
    while True:
        try:
            if condition():
                return
        except (client.ApiException, urllib3.exceptions.HTTPError):
            if time.monotonic() > deadline:
                raise
        time.sleep(0.1)


def _kubeconfig(port: int, certificate: Path, key: Path) -> dict[str, Any]:
    server = {"server": f"https://127.0.0.1:{port}", "insecure-skip-tls-verify": True}
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "test", "cluster": server}],
        "users": [{"name": "test", "user": {"client-certificate": str(certificate), "client-key": str(key)}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
        "current-context": "test",
    }
