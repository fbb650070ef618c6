"""`codetr train`: train a detector."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from codetr.cli.cluster_option import ClusterOption, refuse_options_of_this_machine, run_on_cluster
from codetr.cli.device_option import DeviceOption
from codetr.cli.interrupted import interruption_reported
from codetr.cli.nproc_option import ForceOption, ProcessesOption, run_on_processes
from codetr.cli.options import DatasetOption
from codetr.cli.output import show_step
from codetr.cli.settings_options import ParamsOption, SetOption
from codetr.cli.store_options import FreshOption, StoreOption, store_words
from codetr.core.errors import ReportedError
from codetr.core.manifest import Manifest
from codetr.launch.spec import LaunchSpec, read_spec
from codetr.steps.settings import checkpoint_folder, chosen_recipe, recipe_files
from codetr.steps.store import ResultStore, chosen_store
from codetr.training.config import CLUSTER_MINUTES

if TYPE_CHECKING:
    from codetr.zoo.recipe import Recipe

logger = logging.getLogger(__name__)


def train(
    *,
    context: typer.Context,
    dataset: DatasetOption,
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            metavar="FOLDER",
            help="Folder for the model, which appears when training has ended. A folder with another model, or any "
            "other content, is refused.",
        ),
    ],
    recipe: Annotated[
        str | None,
        typer.Option(
            "--recipe",
            metavar="NAME|FILE.yaml",
            rich_help_panel="Settings",
            help="A recipe of [bold]codetr zoo[/], or a YAML file ([bold]codetr zoo NAME > my.yaml[/]).",
        ),
    ] = None,
    checkpoints: Annotated[
        Path | None,
        typer.Option(
            "--checkpoints",
            metavar="FOLDER",
            help="Folder of checkpoints, from which an interrupted run resumes. Default: OUTPUT.checkpoints",
        ),
    ] = None,
    overwrite: Annotated[
        bool,
        typer.Option(
            "--overwrite",
            help="Replace the model of another run in the output folder, and discard another run in the folder of "
            "checkpoints.",
        ),
    ] = False,
    extend: Annotated[
        bool,
        typer.Option(
            "--extend",
            help="Continue a run that has finished with more epochs (training.epochs); its schedule and patience may "
            "change too.",
        ),
    ] = False,
    processes: ProcessesOption = None,
    device: DeviceOption = "auto",
    force: ForceOption = False,
    on: ClusterOption = None,
    store: StoreOption = None,
    fresh: FreshOption = False,
    params: ParamsOption = None,
    assignments: SetOption = None,
) -> None:
    """[bold]Step 2[/]: train a detector; an interrupted run resumes exactly.

    Run the same command again after a crash, a kill or a preemption: the result equals that of an uninterrupted run, on
    CPUs bit by bit. On SIGTERM the run saves a checkpoint and exits with code 75.

        [cyan]codetr train --recipe tiny -d outputs/dataset -o outputs/model[/]

        [cyan]codetr train --recipe co_dino_5scale_r50_1x_coco --nproc gpus -d outputs/coco -o outputs/model[/]

        [cyan]codetr train --recipe tiny --set training.epochs=20 -d outputs/dataset -o outputs/model[/]

        [cyan]codetr train --on trainjob --recipe co_dino_5scale_r50_1x_coco -d /data/coco -o /data/model[/]

        [cyan]torchrun --nnodes 2 --nproc-per-node 8 --rdzv-backend c10d --rdzv-endpoint head:29400 \\
            -m codetr train --params params.yaml -d /shared/coco -o /shared/model[/]

    Metrics are written to metrics.jsonl and to W&B. Without an API key, W&B writes to the folder wandb beside the
    output; no account is needed.
    """
    started = time.monotonic()
    chosen = chosen_recipe(recipe, params, assignments)
    work = checkpoint_folder(output, checkpoints)
    results = chosen_store(store)
    if on is not None:
        refuse_options_of_this_machine(processes, force)
        spec = read_spec(on)
        if spec.launcher != "local" and chosen.training.checkpoint.every_minutes is None:
            chosen = chosen.changed([("training.checkpoint.every_minutes", CLUSTER_MINUTES)])
        if results is not None and not (fresh or extend):
            given = (chosen, dataset, output, results, spec)
            if _restored(*given, device=device, overwrite=overwrite):
                show_step(Manifest.read(output, "model"), output, started=started)
                return
        # The volumes of the cluster may not be mounted here.
        inputs = {"dataset": Manifest.read(dataset, "dataset").digest} if dataset.is_dir() else {}
        flags = {"--overwrite": overwrite, "--extend": extend}
        arguments = ["train", "--recipe", chosen.model_dump_json(), *(flag for flag, given in flags.items() if given)]
        arguments += [] if device == "auto" else ["--device", device]
        arguments += store_words(store, fresh=fresh)
        paths = {"--dataset": dataset, "--output": output, "--checkpoints": work}
        run_on_cluster(spec, arguments, paths=paths, read=recipe_files(chosen), inputs=inputs)
        return
    # Before PyTorch is imported, which takes seconds.
    Manifest.read(dataset, "dataset")
    run_on_processes(processes, context.obj, device=device, force=force, resumes=True)
    with interruption_reported("training"):
        from codetr.steps.train import TrainConfig
        from codetr.steps.train import train as run

        config = TrainConfig(recipe=chosen)
        manifest = run(
            config, dataset, output, work, overwrite=overwrite, extend=extend, device=device, store=results, fresh=fresh
        )
    show_step(manifest, output, started=started)


def _restored(
    recipe: Recipe, dataset: Path, output: Path, store: ResultStore, spec: LaunchSpec, *, device: str, overwrite: bool
) -> bool:
    """Return whether the store has the model of a training on a cluster; then it is in `output`.

    The job asks too, so what cannot be read here is no error. A job on this machine is the one that knows its device.
    """
    if spec.launcher == "local" or not dataset.is_dir() or not output.parent.is_dir():
        return False
    from codetr.steps.train import TrainConfig, restore_stored

    kind = "cuda" if spec.resources.accelerators and device != "cpu" else "cpu"
    given = (TrainConfig(recipe=recipe), dataset, output, store)
    try:
        found = restore_stored(*given, processes=spec.nodes * spec.processes, device=kind, overwrite=overwrite)
    except ReportedError as error:
        logger.info("the store is asked by the job only: %s", error)
        return False
    return found is not None
