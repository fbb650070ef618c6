"""Starting a backbone from torchvision-style weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torchvision.models import resnet50
from torchvision.models._utils import IntermediateLayerGetter

from codetr.core.errors import UserError
from codetr.models.backbones.config import ResNetConfig
from codetr.models.backbones.resnet import ResNet
from codetr.weights.pretrained.load import load_backbone


@pytest.fixture(scope="module")
def theirs() -> nn.Module:
    """Torchvision's network with statistics that are not trivial."""
    torch.manual_seed(0)
    model = resnet50().eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.2, 0.6)
            assert module.running_mean is not None
            assert module.running_var is not None
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.8, 1.2)
    return model


def features(model: nn.Module, pixels: Tensor) -> list[Tensor]:
    layers = {f"layer{stage}": str(stage) for stage in range(1, 5)}
    return list(IntermediateLayerGetter(model, layers)(pixels).values())


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_features_equal_torchvisions(theirs: nn.Module, tmp_path: Path, suffix: str) -> None:
    """Were the layout another, ImageNet weights would load and mean nothing."""
    path = tmp_path / f"weights{suffix}"
    if suffix == ".pth":
        torch.save(theirs.state_dict(), path)
    else:
        save_file(theirs.state_dict(), path)
    ours = ResNet(ResNetConfig(out_stages=(0, 1, 2, 3))).train()
    load_backbone(ours, str(path))
    pixels = torch.randn(1, 3, 65, 70)
    with torch.no_grad():
        for found, expected in zip(ours(pixels), features(theirs, pixels), strict=True):
            torch.testing.assert_close(found, expected)


def test_stages_the_backbone_does_not_have_are_left_out(theirs: nn.Module, tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    torch.save(theirs.state_dict(), path)
    ours = ResNet(ResNetConfig(out_stages=(0, 1)))
    load_backbone(ours, str(path))
    assert torch.equal(ours.state_dict()["layer2.3.conv3.weight"], theirs.state_dict()["layer2.3.conv3.weight"])


def test_weights_of_another_network_are_refused_with_every_key(theirs: nn.Module, tmp_path: Path) -> None:
    """A key that is silently left out is a layer that silently starts from noise."""
    state = theirs.state_dict()
    del state["layer1.0.conv1.weight"]
    state["layer1.0.extra"] = torch.zeros(1)
    state["conv1.weight"] = torch.zeros(32, 3, 7, 7)
    path = tmp_path / "weights.pth"
    torch.save(state, path)
    ours = ResNet(ResNetConfig())
    before = {key: value.clone() for key, value in ours.state_dict().items()}
    with pytest.raises(UserError) as error:
        load_backbone(ours, str(path))
    for part in (str(path), "missing: layer1.0.conv1.weight", "unexpected: layer1.0.extra", "shape of conv1.weight"):
        assert part in str(error.value)
    assert all(torch.equal(value, before[key]) for key, value in ours.state_dict().items())


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("missing.pth", None, "no such file"),
        ("broken.pth", b"not a checkpoint", "cannot be read"),
        ("broken.safetensors", b"\x08\0\0\0\0\0\0\0garbage!", "cannot be read"),
    ],
)
def test_unreadable_files_are_user_errors(tmp_path: Path, name: str, content: bytes | None, problem: str) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=problem):
        load_backbone(ResNet(ResNetConfig(base_width=8)), str(path))


def test_a_file_that_would_run_code_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    torch.save({"conv1.weight": print}, path)
    with pytest.raises(UserError, match=r"contains 'print'.*no code was executed"):
        load_backbone(ResNet(ResNetConfig(base_width=8)), str(path))


def test_an_unknown_checkpoint_around_the_weights_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    torch.save({"net": {"conv1.weight": torch.zeros(1)}}, path)
    with pytest.raises(UserError, match="values that are not tensors"):
        load_backbone(ResNet(ResNetConfig(base_width=8)), str(path))


def test_unknown_names_list_the_known_ones() -> None:
    with pytest.raises(UserError, match="IMAGENET1K_V1"):
        load_backbone(ResNet(ResNetConfig(base_width=8)), "IMAGENET22K")
    with pytest.raises(UserError, match="depth 26"):
        load_backbone(ResNet(ResNetConfig(depth=26, base_width=8)), "IMAGENET1K_V1")
