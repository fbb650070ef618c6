"""The launcher of a cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING

from codetr.core.errors import UserError
from codetr.core.extras import install_hint
from codetr.launch.launcher import Launcher
from codetr.launch.spec import LaunchSpec

if TYPE_CHECKING:
    from codetr.launch.kubernetes_api import KubernetesApi


def open_launcher(spec: LaunchSpec) -> Launcher:
    """Return the launcher that a cluster's file names.

    Raises:
        UserError: the cluster is not configured on this machine, or the packages for it are not installed.
    """
    match spec.launcher:
        case "local":
            from codetr.launch.local_launcher import LocalLauncher

            return LocalLauncher()
        case "slurm":
            from codetr.launch.slurm.launcher import SlurmLauncher

            return SlurmLauncher()
        case "trainjob":
            api = open_kubernetes(spec.namespace)
            # Needs the same package, and would say only that it is missing.
            from codetr.launch.trainjob_launcher import TrainJobLauncher

            return TrainJobLauncher(api)


def open_kubernetes(namespace: str | None) -> KubernetesApi:
    """Return a namespace of the cluster that this machine or pod is configured for.

    Raises:
        UserError: there is none, or the package `kubernetes` is not installed.
    """
    try:
        from codetr.launch.kubernetes_api import KubernetesApi
    except ModuleNotFoundError as error:
        problem = f"training on Kubernetes needs {error.name}, which is not installed"
        raise UserError(problem, hint=install_hint("kubeflow")) from None
    return KubernetesApi.connect(namespace)
