"""What a run on a server is asked for: the pipeline, its arguments, and the run's name, experiment and namespace."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from codetr.core.files import atomic_file
from codetr.launch.spec import SecretKey
from pipelines.arguments import step_arguments, store_argument
from pipelines.checks import read_secrets, require_submittable
from pipelines.compile import pipeline_documents
from pipelines.launching import launcher_resources, read_cluster, require_volume
from pipelines.options import Resources, RunOptions, StepSettings, Storage
from pipelines.retrain import DATA


@dataclass(frozen=True, kw_only=True)
class RunRequest:
    """A run of the pipeline `retrain`, before it is sent.

    Attributes:
        run_name: its name within the experiment.
        experiment: the experiment that lists the run.
        arguments: arguments of the pipeline.
        secrets: environment variables of its tasks, from Secrets of Kubernetes.
    """

    run_name: str
    experiment: str
    arguments: dict[str, Any]
    secrets: dict[str, SecretKey]

    def write(self, path: Path, *, namespace: str | None) -> None:
        """Write the request as JSON, with the compiled pipeline; the file appears atomically.

        Args:
            path: the file.
            namespace: the run's namespace; None on a server with one user.
        """
        document = {
            "run_name": self.run_name,
            "experiment": self.experiment,
            "arguments": self.arguments,
            "namespace": namespace,
            "pipeline": pipeline_documents(self.secrets),
        }
        with atomic_file(path) as temporary:
            temporary.write_text(json.dumps(document, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def run_request(
    settings: StepSettings,
    run: RunOptions,
    resources: Resources,
    storage: Storage,
    *,
    cluster: str | None,
    store: str | None,
) -> RunRequest:
    """Return the request that the options describe.

    Raises:
        UserError: the settings, the cluster or the store are wrong, or do not fit together.
    """
    name = run.name
    steps = step_arguments(settings.params, settings.recipe, settings.overrides)
    require_submittable(
        steps["prepare_settings"], params=settings.params, run=run, resources=resources, storage=storage
    )
    checkpoints, folder = (f"{path.rstrip('/')}/{name}" for path in (storage.checkpoints, storage.runs))
    spec = None
    if cluster is not None:
        resources = launcher_resources(resources)
        paths = {"--checkpoints": checkpoints, "--runs": folder, "--registry": storage.registry}
        spec = read_cluster(cluster, steps["train_settings"], paths)
        require_volume(spec, cluster, claim=storage.volume, path=DATA)
    arguments = {
        **steps,
        **asdict(resources),
        "image": run.image,
        "volume": storage.volume,
        "registry": storage.registry,
        "checkpoints": checkpoints,
        "folder": folder,
        "cluster": {} if spec is None else spec.model_dump(mode="json", exclude_defaults=True),
        "store": store_argument(store, local=False),
    }
    secrets = read_secrets(run.secret)
    return RunRequest(run_name=name, experiment=run.experiment, arguments=arguments, secrets=secrets)
