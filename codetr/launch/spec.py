"""What a training job gets on a cluster: machines, processes, volumes, network, and how often it may be restarted.

One YAML file a cluster holds it (`pipelines/clusters/`), so a run names only the cluster.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from codetr.core.code_version import PACKAGE
from codetr.core.errors import UserError, did_you_mean, listed
from codetr.core.hang_timeout import HANG_TIMEOUT, HANG_TIMEOUT_VARIABLE
from codetr.core.settings import Settings
from codetr.core.yaml_text import parse_yaml, read_yaml
from codetr.launch.slurm_settings import SlurmSettings

CLUSTERS = Path("pipelines/clusters")
"""Folder of the files that `read_spec` finds by their names, in the repository."""

_LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"

Name = Annotated[str, StringConstraints(pattern=rf"^{_LABEL}(\.{_LABEL})*$", max_length=253)]
"""The name of an object of Kubernetes."""

QualifiedName = Annotated[
    str,
    StringConstraints(pattern=rf"^({_LABEL}(\.{_LABEL})*/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$", max_length=317),
]
"""A key of a label, or the name of a resource such as `nvidia.com/gpu`."""

Quantity = Annotated[str, StringConstraints(pattern=r"^[0-9]+(\.[0-9]+)?(m|[kMGTPE]i?)?$")]
"""An amount as Kubernetes writes it, such as `500m` or `64Gi`."""

Variable = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=256)]
"""The name of an environment variable."""

MountPath = Annotated[str, StringConstraints(pattern=r"^/[^:\x00-\x1f]*$", max_length=1024)]

_IMAGE = r"^[a-z0-9]([-a-zA-Z0-9._:/]*[a-zA-Z0-9])?(@sha256:[0-9a-f]{64})?$"


class Volume(Settings):
    """A volume that every node sees, with the dataset, the checkpoints and the model.

    Attributes:
        claim: the PersistentVolumeClaim, which several nodes can mount (ReadWriteMany).
        path: where it is mounted.
        read_only: whether training cannot write to it.
    """

    claim: Name
    path: MountPath
    read_only: bool = False


class SecretKey(Settings):
    """A value of a Secret, which becomes an environment variable.

    Attributes:
        secret: the Secret.
        key: of the value.
    """

    secret: Name
    key: Annotated[str, StringConstraints(pattern=r"^[-._a-zA-Z0-9]+$", max_length=253)]


class Toleration(Settings):
    """A taint of nodes that the job accepts, as in a pod; see Kubernetes on taints and tolerations."""

    key: QualifiedName | None = None
    operator: Literal["Exists", "Equal"] = "Exists"
    value: str | None = None
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None


class Resources(Settings):
    """What each node of the job gets.

    Attributes:
        cpu: cores.
        memory: bytes.
        accelerator: the name of the resource.
        accelerators: how many; 0 for none.
        shared_memory: the size of /dev/shm, which counts as memory; NCCL needs it.
    """

    cpu: Quantity = "8"
    memory: Quantity = "64Gi"
    accelerator: QualifiedName = "nvidia.com/gpu"
    accelerators: Annotated[int, Field(ge=0, le=64)] = 0
    shared_memory: Quantity = "8Gi"


class Network(Settings):
    """How NCCL reaches other nodes.

    Attributes:
        profile: `none` leaves it to NCCL; `tcp` uses sockets; `efa` AWS's fabric; `infiniband` RDMA.
        interface: the network interface, or a prefix of its name; None for NCCL's choice.
        rdma: the resource that gives a pod its adapters; None for the usual one of the profile.
        rdma_devices: how many of it each pod gets.
    """

    profile: Literal["none", "tcp", "efa", "infiniband"] = "none"
    interface: Annotated[str, StringConstraints(pattern=r"^[-=^,a-zA-Z0-9_.:]+$", max_length=256)] | None = None
    rdma: QualifiedName | None = None
    rdma_devices: Annotated[int, Field(ge=0, le=64)] = 0

    @property
    def fabric(self) -> bool:
        """Whether the profile needs adapters that read the memory of other nodes."""
        return self.profile in ("efa", "infiniband")

    @model_validator(mode="after")
    def _devices_of_a_fabric(self) -> Self:
        if self.rdma_devices and not self.fabric:
            raise ValueError(f"rdma_devices: the profile '{self.profile}' has none; use 'efa' or 'infiniband'")
        return self


class Budget(Settings):
    """How long a job may take, and how often it is started again.

    Attributes:
        restarts: after failures; preemptions do not count.
        hours: of all attempts together, from the creation of each to its end.
        queue_hours: of waiting for machines, before each start.
    """

    restarts: Annotated[int, Field(ge=0, le=100)] = 5
    hours: Annotated[float, Field(gt=0, le=24 * 365)] = 168
    queue_hours: Annotated[float, Field(gt=0, le=24 * 365)] = 24


_OF_KUBERNETES = frozenset(
    {
        "image",
        "image_pull_secrets",
        "namespace",
        "node_selector",
        "priority",
        "queue",
        "runtime",
        "secrets",
        "service_account",
        "tolerations",
        "volumes",
    }
)
"""Settings of pods. Slurm runs programs of a file system that all nodes share, as the user who submits."""


class LaunchSpec(Settings):
    """A cluster, and what a job gets there.

    Attributes:
        launcher: what runs the job: this machine, Kubeflow Trainer as a TrainJob, or Slurm.
        nodes: machines.
        processes: on each of them; one for each accelerator.
        resources: of each machine.
        network: between the machines.
        image: with codetr, by digest or by a tag; not `latest`, which may be another one after a restart.
        namespace: of the job; None for the one of the context or of the pod that starts it.
        runtime: the ClusterTrainingRuntime of the job.
        service_account: of its pods.
        image_pull_secrets: Secrets with the credentials of the image's registry.
        volumes: that all nodes see.
        secrets: environment variables from Secrets.
        environment: other environment variables.
        node_selector: labels that a node must have.
        tolerations: taints that it may have.
        queue: Kueue's LocalQueue; None for none.
        priority: Kueue's WorkloadPriorityClass.
        hang_minutes: that processes wait for one another before the attempt counts as hung; validation on rank 0 and
            writing a checkpoint have to end in this time.
        grace_seconds: that a pod has to write a checkpoint after it was asked to stop.
        budget: of restarts and hours.
        slurm: what only Slurm has.
    """

    launcher: Literal["local", "trainjob", "slurm"]
    nodes: Annotated[int, Field(ge=1, le=1024)] = 1
    processes: Annotated[int, Field(ge=1, le=64)] = 1
    resources: Resources = Resources()
    network: Network = Network()
    image: Annotated[str, StringConstraints(pattern=_IMAGE, max_length=500)] | None = None
    namespace: Name | None = None
    runtime: Name = "codetr-torch"
    service_account: Name | None = None
    image_pull_secrets: tuple[Name, ...] = ()
    volumes: tuple[Volume, ...] = ()
    secrets: dict[Variable, SecretKey] = Field(default_factory=dict)
    environment: dict[Variable, str] = Field(default_factory=dict)
    node_selector: dict[QualifiedName, str] = Field(default_factory=dict)
    tolerations: tuple[Toleration, ...] = ()
    queue: Name | None = None
    priority: Name | None = None
    hang_minutes: Annotated[float, Field(ge=0.1, le=60 * 24)] = HANG_TIMEOUT / 60
    grace_seconds: Annotated[int, Field(ge=30, le=3600)] = 300
    budget: Budget = Budget()
    slurm: SlurmSettings = SlurmSettings()

    @model_validator(mode="after")
    def _fits_the_launcher(self) -> Self:
        if self.launcher == "local" and self.nodes > 1:
            raise ValueError(f"nodes: this machine is one node, not {self.nodes}; use 'trainjob' or 'slurm'")
        if self.launcher == "trainjob":
            self._require_fixed_image()
            if self.network.fabric and not self.network.rdma_devices:
                raise ValueError(f"network.rdma_devices: the profile '{self.network.profile}' needs at least 1")
        if self.launcher == "slurm" and (set_ := sorted(self.model_fields_set & _OF_KUBERNETES)):
            raise ValueError(f"{set_[0]}: Slurm has nothing of the kind")
        if self.launcher != "slurm" and "slurm" in self.model_fields_set:
            raise ValueError(f"slurm: the launcher is '{self.launcher}'")
        if self.resources.accelerators and self.processes != self.resources.accelerators:
            counts = f"processes is {self.processes} and resources.accelerators {self.resources.accelerators}"
            raise ValueError(f"{counts}: a node needs one process for each accelerator")
        if len({volume.path for volume in self.volumes}) < len(self.volumes):
            raise ValueError("volumes: two are mounted at the same path")
        if both := self.secrets.keys() & self.environment.keys():
            raise ValueError(f"environment: {min(both)} is also in secrets")
        return self

    @property
    def variables(self) -> dict[str, str]:
        """The environment variables of every process of a job, but for secrets."""
        return {HANG_TIMEOUT_VARIABLE: str(round(self.hang_minutes * 60)), **self.environment}

    def _require_fixed_image(self) -> None:
        if not self.image:
            raise ValueError("image: a TrainJob needs the image of codetr, as name@sha256:… or name:tag")
        if not names_fixed_version(self.image):
            raise ValueError(f"image: '{self.image}' names no fixed version; give a digest or a tag")


def names_fixed_version(image: str) -> bool:
    """Return whether an image is named by a digest, or by a tag other than `latest`."""
    name, _, digest = image.partition("@")
    return bool(digest) or name.rpartition("/")[2].partition(":")[2] not in ("", "latest")


def read_spec(name: str) -> LaunchSpec:
    """Return the spec of a cluster from a YAML file, by its name, or from JSON.

    A name is that of a file in `pipelines/clusters/` of the current folder, or of the repository that codetr was
    installed from. `local` needs no file. JSON, which begins with a brace, is how a spec travels to a task of a
    pipeline, whose image does not contain that folder.

    Raises:
        UserError: there is no such file, or a setting is wrong.
    """
    if name.startswith("{"):
        return LaunchSpec.parse(parse_yaml(name, where="--on"), where="--on")
    if name.endswith((".yaml", ".yml")):
        return LaunchSpec.parse(read_yaml(Path(name)), where=name)
    folders = dict.fromkeys([CLUSTERS.absolute(), PACKAGE.parent / CLUSTERS])
    files = {path.stem: path for folder in reversed(folders) for path in folder.glob("*.yaml")}
    if name in files:
        return LaunchSpec.parse(read_yaml(files[name]), where=str(files[name]))
    if name == "local":
        return LaunchSpec(launcher="local")
    known = sorted({*files, "local"})
    hint = f"{did_you_mean(name, known)}Clusters: {', '.join(known)}; or give the path of a YAML file."
    raise UserError(f"there is no {name}.yaml in {listed(list(map(str, folders)), 2)}", where="--on", hint=hint)
