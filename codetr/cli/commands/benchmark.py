"""`codetr benchmark`: measure the speed and the memory of a model on this machine."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from codetr.cli.device_option import DeviceOption
from codetr.cli.options import existing_model
from codetr.cli.output import console, plain, print_table
from codetr.core.errors import UserError, did_you_mean
from codetr.core.files import require_writable_file, write_json
from codetr.core.text import one_line
from codetr.data.config import MAX_PIXELS

_LATENCIES = ("mean", "p50", "p90", "p99")
_PARTS = ("preprocess", "model", "postprocess")
_SIZE = re.compile(r"([1-9]\d{0,4})[xX]([1-9]\d{0,4})")


def model_or_recipe(address: str) -> str:
    """Return the address of a model or the name of a recipe unchanged, if it exists.

    Raises:
        UserError: see `existing_model`.
    """
    from codetr import zoo

    if address in zoo.names():
        return address
    try:
        existing_model(address)
    except UserError as error:
        meant = did_you_mean(address, zoo.names())
        raise UserError(error.problem, where=error.where, hint=f"{meant}{error.hint or ''}".strip() or None) from None
    return address


def image_size(text: str) -> tuple[int, int]:
    """Return width and height of a size such as 640x480.

    Raises:
        UserError: it is not of this form, or larger than any image that is read.
    """
    found = _SIZE.fullmatch(text)
    if found is None:
        raise UserError(f"'{text}' is no size", where="--size", hint="Give width and height in pixels, e.g. 640x480.")
    width, height = int(found[1]), int(found[2])
    if width * height > MAX_PIXELS:
        raise UserError(f"'{text}' has more than {MAX_PIXELS:,} pixels", where="--size")
    return width, height


def benchmark(
    *,
    context: typer.Context,
    model: Annotated[
        str,
        typer.Option(
            "--model",
            "-m",
            metavar="FOLDER|RECIPE",
            parser=model_or_recipe,
            help="The model, as [bold]codetr train[/] writes it, REGISTRY@VERSION, or a recipe of [bold]codetr zoo[/] "
            "with random weights.",
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Write all results and the machine as JSON."),
    ] = None,
    sizes: Annotated[
        list[str] | None,
        typer.Option(
            "--size",
            metavar="WxH",
            help="Width and height of random images; repeatable. The model resizes them. Default: 640x480.",
        ),
    ] = None,
    images: Annotated[
        list[str] | None,
        typer.Option(
            "--image", metavar="FILE|FOLDER", help="Use these images instead of random ones, at most 256; repeatable."
        ),
    ] = None,
    batches: Annotated[
        list[int] | None,
        typer.Option("--batch", metavar="N", min=1, max=4096, help="Images in a batch; repeatable. Default: 1."),
    ] = None,
    warmup: Annotated[
        int, typer.Option("--warmup", metavar="N", min=0, help="Batches before those that are measured.")
    ] = 3,
    repeat: Annotated[int, typer.Option("--repeat", metavar="N", min=1, help="Batches that are measured.")] = 20,
    threshold: Annotated[
        float, typer.Option("--score", min=0, max=1, help="Lowest score of detections that are postprocessed.")
    ] = 0.3,
    precision: Annotated[
        Literal["fp32", "bf16"],
        typer.Option("--precision", help="bf16 computes in bfloat16 on a GPU; the other commands detect in fp32."),
    ] = "fp32",
    device: DeviceOption = "auto",
) -> None:
    """Measure images per second, latency and memory of a model on this machine.

        [cyan]codetr benchmark -m outputs/model[/]

        [cyan]codetr benchmark -m outputs/model --image photos/ --batch 1 --batch 8 --device cuda -o benchmark.json[/]

        [cyan]codetr benchmark -m co_dino_5scale_r50_1x_coco --size 1333x800 --repeat 5[/]

    Times are in milliseconds for a batch, from decoded images to detections in main memory: preprocessing on the CPU,
    the network, and postprocessing.
    """
    if sizes and images:
        raise UserError("cannot be combined with --image", where="--size", hint="Files have sizes.")
    chosen = [image_size(size) for size in sizes or ["640x480"]]
    if output is not None:
        require_writable_file(output)  # before minutes of measuring
    from codetr.inference.benchmark import describe_machine, measure, random_images, read_images
    from codetr.inference.load import load

    loaded = load(model, device=device)
    files = read_images(images, loaded) if images else None
    measured = [
        measure(
            loaded,
            random_images(*size, batch) if files is None else files,
            size="files" if files is not None else f"{size[0]}x{size[1]}",
            batch=batch,
            warmup=warmup,
            repeat=repeat,
            precision=precision,
            threshold=threshold,
        )
        for size in chosen
        for batch in batches or [1]
    ]
    parameters = sum(weight.numel() for weight in loaded.detector.parameters())
    results = {
        "command": ["codetr", *map(one_line, context.obj)],
        "model": {"address": model, "recipe": loaded.info.recipe, "parameters": parameters},
        "machine": describe_machine(loaded.device),
        "settings": {"warmup": warmup, "repeat": repeat, "precision": precision, "threshold": threshold},
        "measurements": [asdict(row) for row in measured],
    }
    _print(results)
    if output is not None:
        write_json(output, results)
        console().print(plain(output))


def _print(results: Mapping[str, Any]) -> None:
    """Print the results as they are written to the file of --output."""
    model, machine, precision = results["model"], results["machine"], results["settings"]["precision"]
    size = f"{model['parameters'] / 1e6:.1f} M parameters"
    print_table(
        ("", ""),
        [
            ("model", f"{model['address']}, {model['recipe']}, {size}, {precision}"),
            ("device", machine["gpu"] or f"{machine['processor']}, {machine['threads']} threads"),
            ("PyTorch", machine["versions"]["torch"]),
        ],
    )
    print_table(
        ("images", "input", "batch", "images/s", *_LATENCIES, *_PARTS, "MiB"),
        [
            (
                row["size"],
                row["input"],
                row["batch"],
                row["images_per_second"],
                *(f"{row['latency_ms'][name]:.1f}" for name in _LATENCIES),
                *(f"{row[f'{name}_ms']:.1f}" for name in _PARTS),
                round(row["peak_memory"] / 2**20),
            )
            for row in results["measurements"]
        ],
    )
