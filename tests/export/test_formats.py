"""Parts of detectors in both formats compared with the modules: any batch size, any size of image."""

from __future__ import annotations

from pathlib import Path

import onnxruntime
import pytest
import torch
from torch import Tensor, nn
from torch.export import Dim

from codetr.core.errors import UserError
from codetr.data.config import PreprocessConfig
from codetr.export.canvas import CanvasRule
from codetr.export.onnx import load_onnx, save_onnx
from codetr.export.program import DetectionProgram, export_program, load_program, output_names, save_program, trace
from codetr.export.verify import DetectorReference, compare, drawn_batches
from codetr.models.backbones.build import build_backbone
from codetr.models.backbones.config import SwinConfig, ViTConfig
from codetr.models.structures import ImageBatch
from tests.support.models.exportable import random_detector, two_stages

# Windows of neither fit into maps; ViT has a block without.
SWIN = SwinConfig(
    width=8, depths=(1, 1, 1, 2), attention_heads=(1, 1, 1, 2), window_size=3, out_stages=(2, 3), drop_path=0
)
VIT = ViTConfig(
    channels=16,
    depth=2,
    attention_heads=2,
    feedforward_channels=16,
    window_size=3,
    global_blocks=(1,),
    pretrained_grid=4,
)


def test_boxes_and_masks_of_the_roi_head(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The test of the command exports the detections of the query head. Masks come in several chunks here."""
    monkeypatch.setattr("codetr.export.mask_grids._CHUNK", 4)
    detector = random_detector(two_stages())
    rule = CanvasRule.of(detector.config)
    exported = export_program(detector)
    save_program(exported, tmp_path / "model.pt2", "{}")
    save_onnx(exported, tmp_path / "model.onnx", "{}", output_names(detector.config))
    smallest = ImageBatch(torch.randn(1, 3, rule.minimum, rule.minimum), [(60, 50)], [(60, 50)], [(77, 99)])
    batches = [smallest, *drawn_batches(PreprocessConfig(short_side=200, long_side=250), rule)]
    for run in (load_program(tmp_path / "model.pt2"), load_onnx(tmp_path / "model.onnx")):
        for batch in batches:
            result = compare(DetectorReference.of(detector, rule, batch), run)
            assert result.agreeing == 1, result
            assert result.detections == 10 * len(batch)


class Padded(nn.Module):
    """A backbone, on padded canvases."""

    def __init__(self, config: SwinConfig | ViTConfig) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.backbone = build_backbone(config)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.backbone(CanvasRule(multiple=64, minimum=65).pad(images)))


@pytest.mark.parametrize("config", [SWIN, VIT], ids=["swin", "vit"])
def test_backbones_with_windows(config: SwinConfig | ViTConfig, tmp_path: Path) -> None:
    """How many windows there are, and which of them are at a border, depends on the size."""
    backbone = Padded(config).eval()
    free = {0: Dim("batch", min=1), 2: Dim("height", min=65), 3: Dim("width", min=65)}
    exported = trace(backbone, (torch.zeros(2, 3, 262, 390),), {"images": free})
    with torch.no_grad():
        names = [f"map{index}" for index, _ in enumerate(backbone(torch.zeros(1, 3, 65, 65)))]
    save_onnx(exported, tmp_path / "model.onnx", "{}", names)
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    for batch, height, width in ((1, 65, 65), (3, 70, 200), (2, 450, 129)):
        images = torch.randn(batch, 3, height, width)
        with torch.no_grad():
            expected = backbone(images)
            torch.testing.assert_close(exported.module()(images), expected, rtol=1e-4, atol=1e-5)
        for actual, target in zip(session.run(names, {"images": images.numpy()}), expected, strict=True):
            torch.testing.assert_close(torch.from_numpy(actual), target, rtol=1e-4, atol=1e-5)


def test_a_head_that_cannot_be_exported_is_refused() -> None:
    detector = random_detector(two_stages().model_copy(update={"detect_head": "atss"}))
    with pytest.raises(UserError, match=r"model\.detect_head: is 'atss'"):
        DetectionProgram(detector)
