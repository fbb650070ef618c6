"""A detector as a module with tensors as its only inputs and outputs, and its torch.export program."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from codetr.core.errors import UserError
from codetr.export.canvas import CanvasRule
from codetr.export.mask_grids import masks_of
from codetr.export.suppression import SUPPRESSED, PaddedDetections, suppress
from codetr.export.two_stage import detect_regions
from codetr.models.config import CoDINOHeadConfig, DetectorConfig
from codetr.models.detector import CoDETR
from codetr.models.heads.query.postprocess import topk_pairs
from codetr.models.transformer.levels import EncoderOutput, FeatureLevels

Runner = Callable[[Tensor, Tensor, Tensor], dict[str, Tensor]]
"""Computes what `DetectionProgram.forward` does."""

INPUTS = ("images", "image_sizes", "original_sizes")

METADATA = "codetr.json"
"""Name of the file with the metadata: the extra file of a torch.export program, and the file beside both formats."""


def output_names(config: DetectorConfig) -> list[str]:
    """Return the names of the outputs of a detector's program, in order."""
    names = ["boxes", "scores", "labels"]
    if config.gives_masks:
        names.append("masks")
        if config.detect_head == "query":
            names.append("mask_scores")
    return names


class DetectionProgram(nn.Module):
    """A detector for batches of any number and size of images, with the same number of detections for each.

    Args:
        detector: in evaluation mode.

    Raises:
        UserError: the head that the detector detects with cannot be exported.
    """

    def __init__(self, detector: CoDETR) -> None:
        super().__init__()
        if detector.config.detect_head == "atss":
            hint = "Only the heads 'query' and 'roi' can be exported."
            raise UserError("is 'atss', which cannot be exported", where="model.detect_head", hint=hint)
        self.detector, self.rule = _without_unused_heads(detector), CanvasRule.of(detector.config)

    def forward(self, images: Tensor, image_sizes: Tensor, original_sizes: Tensor) -> dict[str, Tensor]:
        """Detect objects in a batch.

        Args:
            images: (batch, 3, height, width) float32, normalised, each in the upper left corner of the canvas.
            image_sizes: (batch, 2) int64, height and width of every image on the canvas, without padding.
            original_sizes: (batch, 2) int64, height and width of every image before it was resized.

        Returns:
            By name, best first, and filled up with zeros and with -1 for a label: `boxes` (batch, detections, 4) xyxy
            in pixels of the original images, `scores` (batch, detections) in [0, 1], `labels` (batch, detections)
            int64. With masks also `masks` (batch, detections, side, side), the probability in [0, 1] of every cell of
            a grid over each box, and from detectors that score them `mask_scores` (batch, detections).
        """
        detector = self.detector
        images = self.rule.pad(images)
        canvas = (images.shape[2], images.shape[3])
        factors = (image_sizes / original_sizes).flip(1).repeat(1, 2)
        if not detector.config.padding_mask:
            image_sizes = torch.tensor(canvas, device=image_sizes.device) + torch.zeros_like(image_sizes)
        frames = image_sizes.to(images.dtype).flip(1).repeat(1, 2)
        maps = detector.neck(detector.backbone(images))
        encoded = detector.encoder(maps, FeatureLevels.of(maps, canvas, image_sizes))
        if detector.config.detect_head == "roi":
            found = detect_regions(detector, encoded, frames, factors)
        else:
            found = self._detect_queries(encoded, frames, factors)
        outputs = {
            "boxes": torch.where(found.present[..., None], found.boxes, 0.0),
            "scores": torch.where(found.present, found.scores, 0.0),
            "labels": torch.where(found.present, found.labels, -1),
        }
        if detector.config.gives_masks:
            outputs |= masks_of(detector, encoded.levels.split(encoded.memory), found, factors)
        return outputs

    def _detect_queries(self, encoded: EncoderOutput, frames: Tensor, factors: Tensor) -> PaddedDetections:
        config, limit = self.detector.config.query, self.detector.config.query.max_detections
        predictions, _ = self.detector.query_head(encoded)
        if not isinstance(config, CoDINOHeadConfig):
            return PaddedDetections(*topk_pairs(predictions, limit, frames, factors))
        boxes, scores, labels = topk_pairs(predictions, config.queries, frames, factors)
        scores = torch.where(scores > config.score_threshold, scores, SUPPRESSED)
        if config.nms is None:
            return PaddedDetections(boxes[:, :limit], scores[:, :limit], labels[:, :limit])
        return suppress(PaddedDetections(boxes, scores, labels), labels, config.nms, limit)


def _without_unused_heads(detector: CoDETR) -> CoDETR:
    """Copy the detector without the heads that do not run, whose weights would otherwise be in the file.

    Parts of the query head that only training uses are kept: they are small.
    """
    slim = copy.copy(detector)
    slim._modules = dict(detector._modules)
    by_regions = detector.config.detect_head == "roi"
    unused = ("query_head", "instance_head") if by_regions else ("rpn_head", "roi_head", "downsample")
    for name in (*unused, "atss_head"):
        setattr(slim, name, None)
    return slim


def export_program(detector: CoDETR) -> ExportedProgram:
    """Export the detector to a torch.export program for any batch size and any canvas that its `CanvasRule` allows.

    Gradients of its parameters are disabled: the program contains a scan, which does not support them.
    """
    program = DetectionProgram(detector).eval().requires_grad_(False)
    rule = program.rule
    # Example sizes without coincidences: not equal, not 1, and not multiples of anything.
    height, width = (rule.fixed or rule.minimum + steps * rule.multiple + 5 for steps in (3, 5))
    images = torch.zeros(2, 3, height, width)
    sizes = torch.tensor([[height, width], [height - 1, width - 1]])
    batch = Dim("batch", min=1)
    shapes: dict[str, dict[int, Any]] = {name: {0: batch} for name in INPUTS}
    if rule.fixed is None:
        shapes["images"] |= {2: Dim("height", min=rule.minimum), 3: Dim("width", min=rule.minimum)}
    # The two tensors of sizes must differ: otherwise the program would treat both inputs as the same.
    return trace(program, (images, sizes, 2 * sizes), shapes)


def trace(module: nn.Module, inputs: tuple[Tensor, ...], shapes: dict[str, dict[int, Any]]) -> ExportedProgram:
    """Export a module to a torch.export program with dynamic shapes and without source locations.

    Args:
        module: in evaluation mode.
        inputs: an example.
        shapes: the dynamic dimensions by name of the input and axis.
    """
    # Otherwise torch.export specialises the program for a batch of one image or a map of one cell.
    oblivious = torch.fx.experimental._config.patch(backed_size_oblivious=True)  # type: ignore[attr-defined]
    with torch.no_grad(), oblivious:
        exported = torch.export.export(module, inputs, dynamic_shapes=shapes)
    for graph in exported.graph_module.modules():
        if isinstance(graph, torch.fx.GraphModule):
            for node in graph.graph.nodes:
                node.meta.pop("stack_trace", None)
    return exported


def save_program(exported: ExportedProgram, path: Path, info: str) -> None:
    """Write a program to a .pt2 file, with `info` (JSON) as its extra file `METADATA`."""
    torch.export.save(exported, path, extra_files={METADATA: info})


def load_program(path: Path) -> Runner:
    """Load the program of a .pt2 file."""
    module = torch.export.load(path).module()

    def run(images: Tensor, image_sizes: Tensor, original_sizes: Tensor) -> dict[str, Tensor]:
        return module(images, image_sizes, original_sizes)

    return run
