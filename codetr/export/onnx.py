"""Detectors as ONNX files, and ONNX Runtime to run them."""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.export import ExportedProgram

from codetr.core.errors import UserError
from codetr.export.program import Runner

METADATA_KEY = "codetr"
"""The entry of a file's metadata that says what it is."""

OPSET = 20
"""The first one with GridSample as the transformer needs it and everything else."""


def require_onnx() -> None:
    """Raise `UserError` unless the packages for ONNX are installed."""
    missing = [name for name in ("onnx", "onnxruntime", "onnxscript") if importlib.util.find_spec(name) is None]
    if missing:
        hint = "Install the extra: pip install 'codetr[export]'."
        raise UserError(f"ONNX files need {', '.join(missing)}, which is not installed", hint=hint)


def save_onnx(exported: ExportedProgram, path: Path, info: str, outputs: Sequence[str]) -> None:
    """Write a program to an ONNX file.

    Weights of more than 2 GB, which Protocol Buffers cannot hold, go to a file of the same name and `.data`.

    Args:
        exported: the program.
        path: the file.
        info: JSON, becomes the metadata `METADATA_KEY`.
        outputs: names of what the program returns.
    """
    reports = logging.getLogger("onnxscript")
    level = reports.level
    reports.setLevel(logging.ERROR)  # it reports every node that it leaves as it is
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
        node.metadata_props.clear()  # where in our code it comes from
    program.save(path)


def load_onnx(path: Path) -> Runner:
    """The program in an ONNX file, run by ONNX Runtime on the CPU."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]

    def run(images: Tensor, image_sizes: Tensor, original_sizes: Tensor) -> dict[str, Tensor]:
        inputs = {"images": images, "image_sizes": image_sizes, "original_sizes": original_sizes}
        outputs = session.run(names, {name: value.numpy() for name, value in inputs.items()})
        return {name: torch.from_numpy(value) for name, value in zip(names, outputs, strict=True)}

    return run
