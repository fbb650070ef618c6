"""bf16 autocast: which computations get rounded numbers, in every part and with every backbone."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from codetr.models.backbones import swin, vit
from codetr.models.backbones.config import BackboneConfig
from codetr.models.config import DetectorKind
from codetr.models.detector import build_detector
from tests.support.training.tiny_training import images, tiny_config
from tests.training.test_sharding import SWIN, VIT

PRODUCTS = {"convolution", "addmm", "mm", "bmm", "_scaled_dot_product_flash_attention_for_cpu"}
NORMALISATIONS = {"native_batch_norm", "native_group_norm", "native_layer_norm"}  # they compute in fp32
ACTIVATIONS = {"relu", "gelu", "silu"}
# Sums and products are of fp32 where one side is: residual connections, rotary positions, dropped paths, scales.
COMBINATIONS = {"add", "mul", "neg"}
MOVES = {
    *("_to_copy", "_unsafe_view", "alias", "cat", "clone", "detach", "index", "masked_fill", "max_pool2d_with_indices"),
    *("permute", "roll", "slice", "split", "split_with_sizes", "stack", "t", "transpose", "unbind", "unsqueeze"),
    *("upsample_nearest2d", "view"),
}


class Bf16Uses(TorchDispatchMode):
    """Names of the operations with bf16 inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        tensors = [value for value in tree_leaves((args, kwargs)) if isinstance(value, torch.Tensor)]
        if any(tensor.dtype == torch.bfloat16 for tensor in tensors):
            self.names.add(operation._schema.name.removeprefix("aten::"))
        return operation(*args, **(kwargs or {}))


@pytest.mark.parametrize(
    ("kind", "backbone"), [("co_dino", None), ("co_deformable", SWIN), ("co_dino", VIT)], ids=["resnet", "swin", "vit"]
)
def test_only_products_activations_and_sums_of_branches_are_rounded(
    kind: DetectorKind, backbone: BackboneConfig | None
) -> None:
    """Sampling points, inverse sigmoids, softmax, boxes, costs and losses need the digits of fp32: a box coordinate of
    1333 pixels in bf16 is one of every eighth pixel."""
    config = tiny_config(kind)
    torch.manual_seed(0)
    detector = build_detector(config.model_copy(update={"backbone": backbone or config.backbone})).train()
    summed = []
    for module in detector.modules():
        if isinstance(module, swin.SwinBlock | vit.ViTBlock):
            module.register_forward_hook(lambda module, inputs, output: summed.append(output.dtype))
    losses = []
    # oneDNN's bf16 gradients are wrong on CPUs, so training never runs with them there.
    with torch.backends.mkldnn.flags(enabled=False), Bf16Uses() as uses:
        for enabled in (False, True):
            torch.manual_seed(1)
            with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
                losses.append(detector(*images(2)))
    assert {"convolution", "addmm"} <= uses.names, "autocast does round something"
    assert uses.names - PRODUCTS - NORMALISATIONS - ACTIVATIONS - COMBINATIONS - MOVES == set()
    assert set(summed) <= {torch.float32}, "small changes of large sums would be lost"
    exact, rough = losses
    assert {loss.dtype for loss in rough.values()} == {torch.float32}
    total = sum(loss.item() for loss in exact.values())
    assert sum(loss.item() for loss in rough.values()) == pytest.approx(total, rel=0.05)
