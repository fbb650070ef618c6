"""From a model folder to files for deployment, each checked before the folder appears."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rich.console import Console

from codetr.core.errors import UserError
from codetr.core.files import atomic_directory, require_replaceable, sha256_file, write_text
from codetr.core.progress import track
from codetr.core.settings import Settings
from codetr.core.version import __version__
from codetr.data.config import PreprocessConfig
from codetr.data.images import read_image
from codetr.export.canvas import CanvasRule
from codetr.export.onnx import load_onnx, require_onnx, save_onnx
from codetr.export.program import export_program, load_program, output_names, save_program
from codetr.export.verify import Comparison, Reference, batch_of, compare, drawn_batches
from codetr.weights.model_folder import WEIGHTS, folder_of, load_model

FORMATS = {"onnx": "model.onnx", "torch": "model.pt2"}
"""Files by format: ONNX, which ONNX Runtime runs, and a torch.export program."""

DESCRIPTION = "codetr.json"
"""Beside them, what they say about themselves; by it an earlier output is known."""


class ExportInfo(Settings):
    """What an exported file says about itself.

    Attributes:
        format: a later version of the package may write another.
        codetr: version of the package that exported it.
        recipe: name of the recipe the model was trained with.
        class_names: in label order.
        preprocess: how images are resized and normalised.
        canvas: which canvases it takes.
        weights: digest of the weights it was made from.
    """

    format: Literal[1] = 1
    codetr: str = __version__
    recipe: str
    class_names: tuple[str, ...]
    preprocess: PreprocessConfig
    canvas: CanvasRule
    weights: str


@dataclass(frozen=True)
class Exported:
    """A file that was written, and how it compared with the detector, batch by batch."""

    path: Path
    comparisons: list[Comparison]


def export(
    model: Path, output: Path, *, formats: Sequence[str] = tuple(FORMATS), images: Sequence[Path] = ()
) -> list[Exported]:
    """Write a detector as files that run without this package, and check that they detect what it does.

    Args:
        model: a model folder, or the weights file in it.
        output: folder to write; it appears as a whole when all files agree with the detector. It may exist if it is
            empty or an earlier output of this function, which is replaced.
        formats: some of `FORMATS`.
        images: files to compare on, too; drawn images always are.

    Raises:
        UserError: no model, a detector that cannot be exported, packages for ONNX that are not installed, an image
            that cannot be read, an output folder that holds something else, or a file that does not agree.
    """
    output = output.resolve()
    require_replaceable(output, "output of export", _names)
    if "onnx" in formats:
        require_onnx()
    detector, info = load_model(model)
    rule = CanvasRule.of(info.model)
    given = [batch_of([read_image(file)], info.preprocess, rule) for file in images]
    batches = [*drawn_batches(info.preprocess, rule), *given]
    description = ExportInfo(
        recipe=info.recipe,
        class_names=info.class_names,
        preprocess=info.preprocess,
        canvas=rule,
        weights=sha256_file(folder_of(model) / WEIGHTS),
    ).model_dump_json()
    progress = Console(stderr=True, highlight=False)
    progress.print("tracing the detector: up to a minute for small ones, several for large ones")
    exported = export_program(detector)
    references = [
        Reference.of(detector, rule, batch) for batch in track(batches, len(batches), "detecting with the model")
    ]
    if not any(len(found) for reference in references for found in reference.expected):
        hint = "Give images with objects: --image."
        raise UserError("found nothing in any image, so that nothing could be compared", where=str(model), hint=hint)
    results = []
    with atomic_directory(output) as unfinished:
        write_text(unfinished / DESCRIPTION, description)
        for kind in formats:
            file = unfinished / FORMATS[kind]
            progress.print(f"writing {file.name}")
            if kind == "onnx":
                save_onnx(exported, file, description, output_names(info.model))
            else:
                save_program(exported, file, description)
            run = load_onnx(file) if kind == "onnx" else load_program(file)
            comparisons = [
                compare(reference, run) for reference in track(references, len(references), f"comparing {file.name}")
            ]
            require_agreement(comparisons, file.name)
            results.append(Exported(output / file.name, comparisons))
    return results


def require_agreement(comparisons: Sequence[Comparison], name: str) -> None:
    """Raise `UserError` if a file does not detect what the detector does."""
    for comparison in comparisons:
        if not comparison.passed:
            height, width = comparison.canvas
            raise UserError(
                f"of {comparison.detections} detections in {comparison.images} images on a canvas of {height} by "
                f"{width} pixels only {comparison.agreeing:.1%} agree with the detector's (largest difference "
                f"{comparison.boxes:.3g} pixels, {comparison.scores:.3g} in scores), where {comparison.steady:.1%} "
                "stay the same when pixels change by a rounding; nothing was written",
                where=name,
                hint="Weights that are not trained, or not finite, can cause this; a trained detector should agree.",
            )


def _names(folder: Path) -> set[str] | None:
    ours = (DESCRIPTION, *FORMATS.values(), f"{FORMATS['onnx']}.data")
    return {name for name in ours if (folder / name).is_file()} if (folder / DESCRIPTION).is_file() else None
