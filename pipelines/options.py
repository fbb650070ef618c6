"""The options of `python -m pipelines`: what belongs together is one object and one panel of the help."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from codetr.cli.option_groups import OptionGroup
from codetr.core.version import __version__

ProcessesOption = Annotated[
    int, typer.Option("--nproc", metavar="N", min=1, help="Processes of training and evaluation: one for each GPU.")
]


ClusterOption = Annotated[
    str | None,
    typer.Option(
        "--cluster",
        metavar="CLUSTER|FILE.yaml",
        help="Train and evaluate as jobs on a cluster: the name of a file in pipelines/clusters/, or a YAML file. The "
        "tasks start the jobs and follow them.",
    ),
]


EXPERIMENT = "codetr"
"""The experiment of all runs, unless another one is named."""

ExperimentOption = Annotated[
    str, typer.Option("--experiment", metavar="NAME", help="The experiment that lists the run.")
]

RunArgument = Annotated[str, typer.Argument(metavar="RUN", help="Its name, or its id as `submit` prints it.")]

NamespaceOption = Annotated[
    str | None,
    typer.Option("--namespace", envvar="KFP_NAMESPACE", help="The run's namespace, on a server with several users."),
]


@dataclass(frozen=True, kw_only=True)
class StepSettings(OptionGroup, panel="Settings of the steps"):
    """Where the settings of the four steps come from.

    Attributes:
        params: a params.yaml.
        recipe: replaces `train.recipe`.
        overrides: `path.in.the.recipe=value`; they override `train.set`.
    """

    params: Annotated[
        Path, typer.Option("--params", metavar="FILE", help="Settings of every step, as `dvc repro` reads them.")
    ] = Path("params.yaml")
    recipe: Annotated[
        str | None, typer.Option("--recipe", metavar="NAME", help="Use this recipe instead of the one in the file.")
    ] = None
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="A.B=VALUE", help="Change one setting of the recipe, by its path. Repeatable."),
    ] = None


@dataclass(frozen=True, kw_only=True)
class LocalFolders(OptionGroup, panel="Folders"):
    """Where a run on this machine writes.

    Attributes:
        output: every run creates a folder in it.
        registry: the registry's folder.
        checkpoints: what training resumes from.
    """

    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FOLDER", help="Every run creates a folder in it.")
    ] = Path("outputs/pipeline")
    registry: Annotated[Path, typer.Option("--registry", metavar="FOLDER", help="The registry.")] = Path(
        "outputs/registry"
    )
    checkpoints: Annotated[
        Path | None,
        typer.Option("--checkpoints", metavar="FOLDER", help="What training resumes from. Default: OUTPUT/checkpoints"),
    ] = None


@dataclass(frozen=True, kw_only=True)
class Server(OptionGroup, panel="Server"):
    """A Kubeflow Pipelines server.

    Attributes:
        endpoint: its address, e.g. http://localhost:8888.
        namespace: the run's namespace, where the server has several users.
        token: a bearer token; None for the service account's token if its path is in the environment.
        cookie: of a browser that has logged in, where a proxy such as Dex's or OAuth2's stands before the server.
        ca_file: certificates (PEM) of authorities that are trusted, too.
    """

    endpoint: Annotated[
        str, typer.Option("--endpoint", metavar="URL", envvar="KFP_ENDPOINT", help="E.g. http://localhost:8888.")
    ]
    namespace: NamespaceOption = None
    token: Annotated[str | None, typer.Option("--token", envvar="KFP_TOKEN", help="A bearer token.")] = None
    cookie: Annotated[
        str | None,
        typer.Option(
            "--cookie",
            metavar="NAME=VALUE",
            envvar="KFP_COOKIE",
            help="The cookie of a browser that has logged in, where a proxy asks for it.",
        ),
    ] = None
    ca_file: Annotated[
        Path | None,
        typer.Option("--ca-file", metavar="FILE.pem", envvar="KFP_CA_FILE", help="Trust these authorities, too."),
    ] = None


@dataclass(frozen=True, kw_only=True)
class RunOptions(OptionGroup, panel="Run"):
    """How a run is shown, and what its tasks run in.

    Attributes:
        experiment: the experiment that lists the run.
        run_name: its name within the experiment; None for `retrain-` and the time.
        image: the container image of every task.
        secret: environment variables of every task, from Secrets: VARIABLE=SECRET/KEY.
    """

    experiment: ExperimentOption = EXPERIMENT
    run_name: Annotated[
        str | None,
        typer.Option(
            "--run-name",
            help="A run of this name that is running or has succeeded is found again instead of started twice. "
            "Default: retrain- and the time.",
        ),
    ] = None
    image: Annotated[
        str, typer.Option("--image", envvar="CODETR_IMAGE", help="The image with codetr that every task runs in.")
    ] = f"codetr:{__version__}"
    secret: Annotated[
        list[str] | None,
        typer.Option(
            "--secret",
            metavar="VAR=SECRET/KEY",
            help="An environment variable of every task, from a Secret of Kubernetes: WANDB_API_KEY=wandb/api-key. "
            "Repeatable.",
        ),
    ] = None

    @property
    def name(self) -> str:
        """The run's name."""
        return self.run_name or f"retrain-{datetime.now(UTC):%Y%m%d-%H%M%S}"


@dataclass(frozen=True, kw_only=True)
class Resources(OptionGroup, panel="Resources of training and evaluation"):
    """What training and evaluation get, each.

    Attributes:
        processes: one for each accelerator.
        accelerator: name of the resource in Kubernetes.
        accelerators: how many; 0 for none.
        cpu: limit, as Kubernetes writes it.
        memory: limit, as Kubernetes writes it.
    """

    processes: ProcessesOption = 1
    accelerator: Annotated[str, typer.Option("--accelerator", help="Name of the resource.")] = "nvidia.com/gpu"
    accelerators: Annotated[int, typer.Option("--accelerators", min=0, help="Number of them; 0 for none.")] = 0
    cpu: Annotated[str, typer.Option("--cpu", help="CPU limit.")] = "4"
    memory: Annotated[str, typer.Option("--memory", help="Memory limit.")] = "16Gi"


@dataclass(frozen=True, kw_only=True)
class Storage(OptionGroup, panel="Storage, as the tasks see it"):
    """The shared volume and the folders on it.

    Attributes:
        volume: the PersistentVolumeClaim that is mounted at /data.
        registry: the registry's folder.
        checkpoints: every run has a folder in it.
        runs: every run has a folder in it, with its dataset, model and evaluation.
    """

    volume: Annotated[str, typer.Option("--volume", help="The PersistentVolumeClaim to mount at /data.")] = (
        "codetr-data"
    )
    registry: Annotated[str, typer.Option("--registry", help="The registry.")] = "/data/registry"
    checkpoints: Annotated[str, typer.Option("--checkpoints", help="Every run has a folder in it.")] = (
        "/data/checkpoints"
    )
    runs: Annotated[
        str,
        typer.Option("--runs", help="Every run has a folder in it, with its dataset, model and evaluation."),
    ] = "/data/runs"


@dataclass(frozen=True, kw_only=True)
class Waiting(OptionGroup, panel="Waiting"):
    """Whether and how long to wait for the end of the run.

    Attributes:
        wait: whether.
        timeout: hours.
    """

    wait: Annotated[
        bool, typer.Option("--wait", help="Wait for the end of the run, and exit with the code that says how it ended.")
    ] = False
    timeout: Annotated[float, typer.Option("--timeout", min=0, metavar="HOURS", help="Wait at most this long.")] = 168
