"""Export a model folder to files for deployment, each verified before the output folder appears."""

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
from codetr.export.program import METADATA, export_program, load_program, output_names, save_program
from codetr.export.verify import DetectorReference, ExportComparison, batch_of, compare, drawn_batches
from codetr.weights.model_folder import WEIGHTS, folder_of, load_model, read_info

FORMATS = {"onnx": "model.onnx", "torch": "model.pt2"}
"""File names by format: ONNX for ONNX Runtime, and a torch.export program."""


class ExportInfo(Settings):
    """Metadata of an exported file.

    Attributes:
        format: version of this metadata.
        codetr: version of the package that exported it.
        recipe: name of the recipe the model was trained with.
        class_names: in label order.
        preprocess: how images are resized and normalised.
        canvas: valid canvas sizes.
        weights: digest of the exported weights.
    """

    format: Literal[1] = 1
    codetr: str = __version__
    recipe: str
    class_names: tuple[str, ...]
    preprocess: PreprocessConfig
    canvas: CanvasRule
    weights: str


@dataclass(frozen=True)
class ExportedFile:
    """A written file, and its comparison with the detector for every batch."""

    path: Path
    comparisons: list[ExportComparison]


def export(
    model: Path, output: Path, *, formats: Sequence[str] = tuple(FORMATS), images: Sequence[Path] = ()
) -> list[ExportedFile]:
    """Export a detector to files that run without this package, and verify their detections.

    Args:
        model: a model folder, or the weights file in it.
        output: folder to write, atomically when all files agree with the detector. It may exist if it is empty or an
            earlier output of this function, which is replaced.
        formats: keys of `FORMATS`.
        images: files to compare on, in addition to drawn images.

    Raises:
        UserError: there is no model; the detector cannot be exported; packages for ONNX are not installed; an image
            cannot be read; the output folder holds other files; or a file does not agree with the detector.
    """
    output = output.resolve()
    require_replaceable(output, "output of export", _written_names)
    if "onnx" in formats:
        require_onnx()
    range_16bit = read_info(folder_of(model)).range_16bit
    pictures = [read_image(file, range_16bit=range_16bit) for file in images]  # before minutes of loading and tracing
    detector, info = load_model(model)
    rule = CanvasRule.of(info.model)
    given = [batch_of([picture], info.preprocess, rule) for picture in pictures]
    batches = [*drawn_batches(info.preprocess, rule), *given]
    description = ExportInfo(
        recipe=info.recipe,
        class_names=info.class_names,
        preprocess=info.preprocess,
        canvas=rule,
        weights=sha256_file(folder_of(model) / WEIGHTS),
    ).model_dump_json()
    progress = Console(stderr=True, highlight=False)
    progress.print("tracing the detector (up to a minute for small ones, several minutes for large ones)")
    exported = export_program(detector)
    references = [
        DetectorReference.of(detector, rule, batch)
        for batch in track(batches, len(batches), "detecting with the model")
    ]
    if not any(len(found) for reference in references for found in reference.expected):
        hint = "Pass images with objects: --image."
        raise UserError("detects nothing in any image, so nothing can be compared", where=str(model), hint=hint)
    results = []
    with atomic_directory(output) as unfinished:
        write_text(unfinished / METADATA, description)
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
            results.append(ExportedFile(output / file.name, comparisons))
    return results


def require_agreement(comparisons: Sequence[ExportComparison], name: str) -> None:
    """Raise `UserError` if the detections of a file do not agree with those of the detector."""
    for comparison in comparisons:
        if not comparison.passed:
            height, width = comparison.canvas
            raise UserError(
                f"only {comparison.agreeing:.1%} of {comparison.detections} detections in {comparison.images} images "
                f"on a canvas of {height} by {width} pixels agree with the detector's (largest difference "
                f"{comparison.boxes:.3g} pixels, {comparison.scores:.3g} in scores); {comparison.stable:.1%} are "
                "unchanged when pixels change by a rounding error; nothing was written",
                where=name,
                hint="Untrained weights, or weights that are not finite, can cause this; a trained detector agrees.",
            )


def _written_names(folder: Path) -> set[str] | None:
    ours = (METADATA, *FORMATS.values(), f"{FORMATS['onnx']}.data")
    return {name for name in ours if (folder / name).is_file()} if (folder / METADATA).is_file() else None
