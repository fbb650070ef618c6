"""`codetr evaluate`: evaluate a model on a split of a dataset."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated

import typer

from codetr.cli.cluster_option import ClusterOption, refuse_options_of_this_machine, run_on_cluster
from codetr.cli.device_option import DeviceOption
from codetr.cli.nproc_option import ForceOption, ProcessesOption, run_on_processes
from codetr.cli.options import ClusterModelOption, DatasetOption, OutputOption
from codetr.cli.output import show_step
from codetr.cli.settings_options import ParamsOption, SetOption
from codetr.cli.store_options import FreshOption, StoreOption, store_words
from codetr.core.manifest import FolderKind, Manifest
from codetr.launch.spec import read_spec
from codetr.registry.store import Registry
from codetr.steps.settings import step_settings
from codetr.steps.store import chosen_store


def evaluate(
    *,
    context: typer.Context,
    model: ClusterModelOption,
    dataset: DatasetOption,
    output: OutputOption,
    registry: Annotated[
        Path | None,
        typer.Option(
            "--registry",
            "-r",
            metavar="FOLDER",
            help="Compare the model with the champion of this registry, if there is one, in the report.",
        ),
    ] = None,
    processes: ProcessesOption = None,
    device: DeviceOption = "auto",
    force: ForceOption = False,
    on: ClusterOption = None,
    store: StoreOption = None,
    fresh: FreshOption = False,
    params: ParamsOption = None,
    assignments: SetOption = None,
) -> None:
    """[bold]Step 3[/]: evaluate a model: COCO/LVIS metrics, error analysis, HTML report.

    COCO metrics are equal to those of pycocotools to the last digit, and LVIS metrics, of datasets that say which
    classes of an image are verified, to those of the package lvis, on any number of processes. Open
    [bold]report.html[/] in the output folder: whether the model is better than the champion, metrics, training curves,
    errors, every class, the best and the worst images.

        [cyan]codetr evaluate -m outputs/model -d outputs/dataset -o outputs/evaluation[/]

        [cyan]codetr evaluate -m outputs/model -d outputs/dataset -o outputs/evaluation -r outputs/registry[/]

        [cyan]codetr evaluate -m outputs/model -d outputs/coco -o outputs/evaluation --nproc gpus --set batch_size=4[/]

        [cyan]codetr evaluate --on trainjob -m /data/model -d /data/coco -o /data/evaluation[/]
    """
    from codetr.evaluation.config import EvaluateConfig

    started = time.monotonic()
    config = step_settings(EvaluateConfig, "evaluate", params, assignments)
    if on is not None:
        refuse_options_of_this_machine(processes, force)
        # The volumes of the cluster may not be mounted here.
        folders: dict[FolderKind, Path] = {"model": model, "dataset": dataset}
        inputs: dict[str, str] = {
            kind: Manifest.read(path, kind).digest for kind, path in folders.items() if path.is_dir()
        }
        # JSON is YAML, and a whole settings file of this machine is not on the cluster.
        settings = [f"{name}={json.dumps(value)}" for name, value in config.model_dump(mode="json").items()]
        arguments = ["evaluate", *(word for setting in settings for word in ("--set", setting))]
        arguments += [] if device == "auto" else ["--device", device]
        paths = {"--model": model, "--dataset": dataset, "--output": output}
        paths |= {} if registry is None else {"--registry": registry}
        arguments += store_words(store, fresh=fresh)
        run_on_cluster(read_spec(on), arguments, paths=paths, read={}, inputs=inputs)
        return
    results = chosen_store(store)
    # Before PyTorch is imported, which takes seconds.
    Manifest.read(model, "model")
    Manifest.read(dataset, "dataset")
    if registry is not None and Registry.exists(registry):
        Registry.open(registry)
    run_on_processes(processes, context.obj, device=device, force=force)
    from codetr.steps.evaluate import evaluate as run

    manifest = run(config, model, dataset, output, registry, device=device, store=results, fresh=fresh)
    show_step(manifest, output, started=started)
