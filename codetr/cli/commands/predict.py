"""`codetr predict`: detect objects in images and videos."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from codetr.cli.device_option import DeviceOption
from codetr.cli.options import ModelOption
from codetr.cli.output import console, plain
from codetr.core.bounds import MAX_SIDE
from codetr.core.text import counted
from codetr.data.config import HIGHEST_MAX_PIXELS, MAX_PIXELS

if TYPE_CHECKING:
    from codetr.inference.config import TilesConfig, TTAConfig
    from codetr.inference.predict_files import PredictedFiles

DEFAULT_THRESHOLD = 0.3
"""Lowest score of what is kept, where no evaluation of the model says which is best."""


def _checked_formats(formats: list[str] | None) -> list[str]:
    if formats:
        from codetr.inference.detection_files import require_formats

        require_formats(formats)
    return formats or []


def predict(
    *,
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE...",
            help="Images, videos, folders of images, patterns such as 'images/**/*.jpg', addresses of streams (- for "
            "standard input), the index of a camera (0).",
        ),
    ],
    model: ModelOption,
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", metavar="FOLDER", help="Folder for predictions.json and the drawn images and videos."
        ),
    ],
    formats: Annotated[
        list[str] | None,
        typer.Option(
            "--format",
            "-f",
            metavar="FORMAT",
            help="Write more than predictions.json: csv is a table, detections.csv; yolo is a labels/NAME.txt of each "
            "image, yolo-score the same with scores. Repeatable.",
            is_eager=True,  # before the model is looked for
            callback=_checked_formats,
        ),
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(
            "--score",
            min=0,
            max=1,
            help="Drop detections with a lower score. Default: the threshold with the best F1 of the model's "
            f"evaluation, if that is in a folder beside the model, else {DEFAULT_THRESHOLD}.",
        ),
    ] = None,
    tta: Annotated[
        bool,
        typer.Option("--tta", help="Test-time augmentation (multi-scale and flip): slower, usually higher AP."),
    ] = False,
    tile: Annotated[
        int | None,
        typer.Option(
            "--tile",
            metavar="PIXELS",
            min=32,
            max=MAX_SIDE,
            help="Also detect in tiles of this side, for large images with small objects.",
        ),
    ] = None,
    frames: Annotated[
        int | None, typer.Option("--frames", min=1, help="Stop after so many frames of each video or stream.")
    ] = None,
    max_pixels: Annotated[
        int,
        typer.Option(
            "--max-pixels",
            metavar="PIXELS",
            min=1,
            max=HIGHEST_MAX_PIXELS,
            help="Largest image that is read: about 8 bytes of memory a pixel.",
        ),
    ] = MAX_PIXELS,
    device: DeviceOption = "auto",
) -> None:
    """Detect objects in images and videos; write predictions.json, and the images and videos with boxes drawn.

        [cyan]codetr predict -m outputs/model -o outputs/predictions photo.jpg more-photos/[/]

        [cyan]codetr predict -m outputs/registry@champion -o outputs/predictions --tile 1024 aerial.tif[/]

        [cyan]codetr predict -m outputs/model -o outputs/predictions clip.mp4[/]

        [cyan]codetr predict -m outputs/model -o outputs/predictions --frames 500 rtsp://camera/stream[/]

        [cyan]codetr predict -m outputs/model -o outputs/predictions --format csv --format yolo 'images/**/*.jpg'[/]

        [cyan]codetr predict -m outputs/model -o outputs/predictions 0[/]

    The last one detects in the pictures of a camera until Ctrl-C. Videos and cameras need optional dependencies; the
    message for the first one has the command that installs them.
    """
    from codetr.inference.config import TilesConfig, TTAConfig
    from codetr.inference.predict_files import predict as run

    augmentation, tiles = TTAConfig() if tta else None, None if tile is None else TilesConfig(size=tile)
    result = run(
        model,
        inputs,
        output,
        threshold=_best_threshold(model, augmentation, tiles) if threshold is None else threshold,
        tta=augmentation,
        tiles=tiles,
        frames=frames,
        max_pixels=max_pixels,
        formats=formats or (),
        device=device,
    )
    _show(result, output)


def _best_threshold(model: Path, tta: TTAConfig | None, tiles: TilesConfig | None) -> float:
    """Return the threshold that the evaluation of the model found best, and say so; else the default."""
    from codetr.inference.best_threshold import best_threshold

    best = best_threshold(model, tta=tta, tiles=tiles)
    if best is None:
        return DEFAULT_THRESHOLD
    where = f"on the split '{best.split}' in {best.evaluation}"
    console().print(f"score threshold {best.score:.4g}, which gave the best F1 {plain(where)}; --score sets another")
    return best.score


def _show(result: PredictedFiles, output: Path) -> None:
    """Print what was skipped and how much was found."""
    from codetr.inference.predict_files import PREDICTIONS

    out = console()
    for skipped in result.skipped:
        out.print(f"[yellow]skipped {plain(skipped.file)}: {plain(skipped.reason)}[/]")
    parts = [counted(len(result.images), "image")] if result.images else []
    if result.videos:
        frames = sum(video.frames for video in result.videos)
        parts.append(f"{counted(frames, 'frame')} of {counted(len(result.videos), 'video')}")
    out.print(f"{counted(result.objects, 'object')} in {' and '.join(parts)}: {plain(output / PREDICTIONS)}")
    if not result.objects:
        out.print("No detection reaches the threshold; a lower --score shows more.")
