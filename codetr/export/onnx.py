"""Write detectors to ONNX files, and run these with ONNX Runtime."""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.export import ExportedProgram

from codetr.core.errors import UserError
from codetr.core.extras import install_hint
from codetr.export.program import Runner

METADATA_KEY = "codetr"
"""Key of our entry in a file's metadata."""

OPSET = 20
"""The first version with all operators that the transformer needs, GridSample among them."""


def require_onnx() -> None:
    """Raise `UserError` unless the packages for ONNX are installed."""
    missing = [name for name in ("onnx", "onnxruntime", "onnxscript") if importlib.util.find_spec(name) is None]
    if missing:
        hint = f"Give --format torch, which needs no extra; or: {install_hint('export')}"
        verb = "is" if len(missing) == 1 else "are"
        raise UserError(f"ONNX files need {', '.join(missing)}, which {verb} not installed", hint=hint)


def save_onnx(exported: ExportedProgram, path: Path, info: str, outputs: Sequence[str]) -> None:
    """Write a program to an ONNX file.

    Weights of more than 2 GB, the limit of Protocol Buffers, go to a file of the same name with `.data` appended.

    Args:
        exported: the program.
        path: the file.
        info: JSON, stored in the metadata under `METADATA_KEY`.
        outputs: names of the outputs.
    """
    reports = logging.getLogger("onnxscript")
    level = reports.level
    reports.setLevel(logging.ERROR)  # it logs every node that it does not change
    try:
        program = torch.onnx.export(
            exported, dynamo=True, opset_version=OPSET, output_names=list(outputs), verbose=False
        )
    finally:
        reports.setLevel(level)
    assert program is not None
    model = program.model
    model.metadata_props[METADATA_KEY] = info
    for node in model.graph.all_nodes():
        node.metadata_props.clear()  # source locations
    program.save(path)


def load_onnx(path: Path) -> Runner:
    """Load the program of an ONNX file into ONNX Runtime, on the CPU."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]

    def run(images: Tensor, image_sizes: Tensor, original_sizes: Tensor) -> dict[str, Tensor]:
        inputs = {"images": images, "image_sizes": image_sizes, "original_sizes": original_sizes}
        outputs = session.run(names, {name: value.numpy() for name, value in inputs.items()})
        return {name: torch.from_numpy(value) for name, value in zip(names, outputs, strict=True)}

    return run
