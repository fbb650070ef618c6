"""`codetr evaluate`: evaluate a model on a split of a dataset."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from codetr.cli.device_option import DeviceOption
from codetr.cli.nproc_option import ForceOption, ProcessesOption, run_on_processes
from codetr.cli.options import DatasetOption, ModelOption, OutputOption
from codetr.cli.output import show_step
from codetr.cli.settings_options import ParamsOption, SetOption
from codetr.cli.store_options import FreshOption, StoreOption
from codetr.core.manifest import Manifest
from codetr.registry.store import Registry
from codetr.steps.settings import step_settings
from codetr.steps.store import chosen_store


def evaluate(
    *,
    context: typer.Context,
    model: ModelOption,
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
    """
    from codetr.evaluation.config import EvaluateConfig

    started = time.monotonic()
    config = step_settings(EvaluateConfig, "evaluate", params, assignments)
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
