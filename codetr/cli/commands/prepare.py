"""`codetr prepare`: check annotations and images, and write a dataset folder."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from codetr.cli.option_groups import expand_option_groups
from codetr.cli.output import console, plain, show_step
from codetr.cli.settings_options import ParamsOption, SetOption
from codetr.cli.source_options import SourceOptions
from codetr.cli.store_options import FreshOption, StoreOption
from codetr.core.errors import UserError
from codetr.steps.settings import step_settings
from codetr.steps.store import chosen_store


@expand_option_groups
def prepare(
    *,
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            metavar="FOLDER",
            help="Folder for the dataset, which appears when the step succeeds. It replaces an earlier dataset of the "
            "same training annotations; a folder with another dataset, or any other content, is refused.",
        ),
    ],
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a dataset of other annotations in the output folder.")
    ] = False,
    sources: SourceOptions,
    store: StoreOption = None,
    fresh: FreshOption = False,
    params: ParamsOption = None,
    assignments: SetOption = None,
) -> None:
    """[bold]Step 1[/]: prepare a dataset: check and index annotations and images, and report every problem.

    The dataset refers to the image files by path and digest; they are not copied. Unusable records are dropped and
    reported: [bold]codetr doctor FOLDER[/] shows the report again.

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
    from codetr.doctor.terminal import print_errors, print_report
    from codetr.steps.prepare import prepare as run

    started = time.monotonic()
    splits = sources.by_split()
    if not splits and params is None:
        raise UserError("no annotations are given", hint="Give --train and --train-images, or --params.")
    config = step_settings(PrepareConfig, "prepare", params, assignments, splits)
    manifest = run(config, output, overwrite=overwrite, store=chosen_store(store), fresh=fresh)
    report = read_report(output)
    print_report(report, report.findings, console())
    if not report.findings:
        # Some kinds are looked for by the doctor only.
        console().print(f"codetr doctor {plain(output)} also looks for duplicates, leaks and boxes that may be wrong.")
    show_step(manifest, output, started=started)
    print_errors(report.findings, console())
