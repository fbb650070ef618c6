"""The commands prepare, train, evaluate and register: options in, the step's function, a few lines about the result."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from codetr.cli.launch import ProcessesOption, spread
from codetr.cli.options import DatasetOption, ModelOption, OutputOption, RegistryOption
from codetr.cli.output import console, show_step
from codetr.cli.settings import ParamsOption, SetOption, chosen_recipe, step_settings
from codetr.cli.sources import (
    ImagesOption,
    RepoOption,
    RevOption,
    TestImagesOption,
    TestOption,
    TrainImagesOption,
    TrainOption,
    ValImagesOption,
    ValOption,
    split_sources,
)
from codetr.core.errors import UserError


def prepare(
    *,
    output: OutputOption,
    train: TrainOption = None,
    val: ValOption = None,
    test: TestOption = None,
    images: ImagesOption = None,
    train_images: TrainImagesOption = None,
    val_images: ValImagesOption = None,
    test_images: TestImagesOption = None,
    repo: RepoOption = None,
    rev: RevOption = None,
    params: ParamsOption = None,
    assignments: SetOption = None,
) -> None:
    """[bold]Step 1[/]: index annotations and images, and report everything that is wrong with them.

    The dataset refers to the images where they are and keeps their digests. Records that cannot be used are dropped
    with a reason each: [bold]codetr doctor FOLDER[/] shows them again.

        [cyan]codetr prepare --train train.json --val val.json --images images -o outputs/dataset[/]

        [cyan]codetr prepare --train instances_train2017.json --train-images train2017 \\
            --val instances_val2017.json --val-images val2017 -o outputs/coco[/]

        [cyan]codetr prepare --train VOC2012 -o outputs/voc[/]

        [cyan]codetr prepare --train coco8/data.yaml -o outputs/coco8[/]

        [cyan]codetr prepare --train all.json --images images --set val_fraction=0.1 --set test_fraction=0.1 \\
            -o outputs/dataset[/]

        [cyan]codetr prepare --train a.json --train-images a --train b.json --train-images b \\
            --val a_val.json --val-images a -o outputs/both[/]

        [cyan]codetr prepare --repo ssh://git@example.org/data.git --rev v3 \\
            --train train.json --val val.json --images images -o outputs/dataset[/]

        [cyan]codetr prepare --params params.yaml -o outputs/dataset[/]
    """
    from codetr.data.ingest.config import PrepareConfig
    from codetr.data.ingest.summary import read_report
    from codetr.doctor.terminal import print_report
    from codetr.steps.prepare import prepare as run

    annotations = {"train": (train, train_images), "val": (val, val_images), "test": (test, test_images)}
    sources = split_sources(annotations, images=images, repo=repo, rev=rev)
    if not sources and params is None:
        raise UserError("no annotations are named", hint="Give --train and --train-images, or --params.")
    config = step_settings(PrepareConfig, "prepare", params, assignments, sources)
    manifest = run(config, output)
    print_report(read_report(output), console())
    show_step(manifest, output)


def train(
    *,
    context: typer.Context,
    dataset: DatasetOption,
    output: OutputOption,
    recipe: Annotated[
        str | None,
        typer.Option(
            "--recipe",
            metavar="NAME|FILE.yaml",
            rich_help_panel="Settings",
            help="A recipe of [bold]codetr zoo[/], or a file such as [bold]codetr zoo NAME > my.yaml[/] writes.",
        ),
    ] = None,
    checkpoints: Annotated[
        Path | None,
        typer.Option(
            "--checkpoints",
            metavar="FOLDER",
            help="What the run needs to go on after an interruption. Default: OUTPUT.checkpoints",
        ),
    ] = None,
    processes: ProcessesOption = None,
    params: ParamsOption = None,
    assignments: SetOption = None,
) -> None:
    """[bold]Step 2[/]: train a detector; a run that was stopped goes on where it was.

    Start the same command again after a crash, a kill or a preemption: the result is bit by bit that of a run that
    was never interrupted. On SIGTERM the run saves and exits with code 75.

        [cyan]codetr train --recipe tiny -d outputs/dataset -o outputs/model[/]

        [cyan]codetr train --recipe co_dino_5scale_r50_1x_coco --nproc gpus -d outputs/coco -o outputs/model[/]

        [cyan]codetr train --recipe tiny --set training.epochs=20 -d outputs/dataset -o outputs/model[/]

        [cyan]torchrun --nnodes 2 --nproc-per-node 8 --rdzv-backend c10d --rdzv-endpoint head:29400 \\
            -m codetr train --params params.yaml -d /shared/coco -o /shared/model[/]

    Curves go to metrics.jsonl and to W&B, which needs no account: without a key they are written to ./wandb.
    """
    chosen = chosen_recipe(recipe, params, assignments)
    spread(processes, context.obj)
    from codetr.steps.train import TrainConfig
    from codetr.steps.train import train as run

    work = checkpoints or output.with_name(f"{output.name}.checkpoints")
    show_step(run(TrainConfig(recipe=chosen), dataset, output, work), output)


def evaluate(
    *,
    context: typer.Context,
    model: ModelOption,
    dataset: DatasetOption,
    output: OutputOption,
    processes: ProcessesOption = None,
    params: ParamsOption = None,
    assignments: SetOption = None,
) -> None:
    """[bold]Step 3[/]: measure a model on a dataset, and show where it is good and where it is not.

    COCO metrics are those of pycocotools to the last digit, and LVIS's, of datasets that say which classes of an
    image are verified, those of the package lvis, on any number of processes. Open [bold]report.html[/] in
    the output folder: metrics, curves, every class, the best and the worst images.

        [cyan]codetr evaluate -m outputs/model -d outputs/dataset -o outputs/evaluation[/]

        [cyan]codetr evaluate -m outputs/model -d outputs/coco -o outputs/evaluation --nproc gpus --set batch_size=4[/]
    """
    from codetr.steps.evaluate import EvaluateConfig
    from codetr.steps.evaluate import evaluate as run

    config = step_settings(EvaluateConfig, "evaluate", params, assignments)
    spread(processes, context.obj)
    show_step(run(config, model, dataset, output), output)


def register(
    *,
    model: ModelOption,
    evaluation: Annotated[
        Path,
        typer.Option(
            "--evaluation", "-e", metavar="FOLDER", help="Its evaluation: what [bold]codetr evaluate[/] wrote."
        ),
    ],
    registry: RegistryOption,
    output: OutputOption,
    params: ParamsOption = None,
    assignments: SetOption = None,
) -> None:
    """[bold]Step 4[/]: keep a model and its evaluation as a version, and make it champion if it is better.

    A version is never changed or overwritten. The alias [bold]champion[/] moves to it when it is the first one, or
    measured better than the champion on the same evaluation set; otherwise the verdict says why not.

        [cyan]codetr register -m outputs/model -e outputs/evaluation -r outputs/registry -o outputs/registration[/]

        [cyan]codetr register --set min_improvement=0.005 -m … -e … -r … -o …[/]

        [cyan]codetr registry list outputs/registry[/]
    """
    from codetr.steps.register import RegisterConfig
    from codetr.steps.register import register as run

    config = step_settings(RegisterConfig, "register", params, assignments)
    show_step(run(config, model, evaluation, registry, output), output)
