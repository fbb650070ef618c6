"""Files of weights from elsewhere: hostile and unusual ones."""

from __future__ import annotations

import os
import sys
import types
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from codetr.core.errors import UserError
from codetr.models.backbones.config import ResNetConfig
from codetr.models.backbones.resnet import ResNet
from codetr.weights.foreign_file import only_tensors, read_foreign, require_finite, unwrapped
from codetr.weights.official.checkpoint_file import read_checkpoint
from codetr.weights.pretrained.load import load_backbone

WRAPPERS = ("model", "state_dict")


@pytest.fixture
def history_buffer() -> Iterator[Any]:
    """A class of the name of MMEngine's history of losses, with a state like it has."""
    name = "mmengine.logging.history_buffer"
    names = ["mmengine", "mmengine.logging", name]
    modules = {part: types.ModuleType(part) for part in names}
    kind = type("HistoryBuffer", (), {"__module__": name})
    modules[name].HistoryBuffer = kind  # type: ignore[attr-defined]
    sys.modules |= modules
    buffer = kind()
    buffer.max_length, buffer._log_history, buffer._count_history = 10, np.arange(3.0), np.ones(3)
    yield buffer
    for part in names:
        del sys.modules[part]


def test_a_file_that_contains_itself_has_an_end(tmp_path: Path) -> None:
    """Following its keys never ended, and signals were not obeyed."""
    content: dict[str, Any] = {"weight": torch.ones(1)}
    content["model"] = content
    torch.save(content, tmp_path / "x.pth")
    for read in (read_checkpoint, lambda path: load_backbone(ResNet(ResNetConfig(base_width=8)), str(path))):
        with pytest.raises(UserError, match=r"x\.pth: contains values that are not tensors: model"):
            read(tmp_path / "x.pth")


@settings(max_examples=30, deadline=None)
@given(st.lists(st.sampled_from([*WRAPPERS, "other"]), max_size=8))
def test_weights_are_found_below_a_few_wrappers_only(keys: list[str]) -> None:
    content: Any = {"weight": torch.ones(1)}
    for key in reversed(keys):
        content = {key: content}
    found, taken = unwrapped(content, WRAPPERS)
    assert list(taken) == keys[: len(taken)]
    assert ("weight" in found) == (len(keys) <= 3 and "other" not in keys)


def test_what_is_no_regular_file_is_not_opened(tmp_path: Path) -> None:
    """Opening a FIFO waits for a writer for ever."""
    os.mkfifo(tmp_path / "x.pth")
    for read in (read_foreign, lambda path: load_backbone(ResNet(ResNetConfig(base_width=8)), str(path))):
        with pytest.raises(UserError, match=r"x\.pth: is not a regular file"):
            read(tmp_path / "x.pth")


def test_a_tensor_larger_than_its_memory_is_refused(tmp_path: Path) -> None:
    """An expanded tensor of a few bytes asks for terabytes as soon as it is copied."""
    torch.save({"a": torch.ones(1).expand(10**6, 10**6), "b": torch.ones(4)[:2]}, tmp_path / "x.pth")
    with pytest.raises(UserError, match=r"x\.pth: contains values that are not tensors: a\."):
        only_tensors(read_foreign(tmp_path / "x.pth"), str(tmp_path / "x.pth"))


def test_compressed_and_overlapping_records_are_refused(tmp_path: Path) -> None:
    """A few kilobytes of zeros would take minutes to check."""
    torch.save({"a": torch.zeros(10)}, tmp_path / "x.pth")
    with (
        zipfile.ZipFile(tmp_path / "x.pth") as archive,
        zipfile.ZipFile(tmp_path / "y.pth", "w", zipfile.ZIP_DEFLATED) as other,
    ):
        for name in archive.namelist():
            other.writestr(name, archive.read(name))
    with pytest.raises(UserError, match=r"y\.pth: is compressed"):
        read_foreign(tmp_path / "y.pth")


@pytest.mark.parametrize("zipped", [True, False])
def test_histories_of_mmengine_are_ignored(tmp_path: Path, history_buffer: Any, zipped: bool) -> None:
    """They hold losses, no weights; the whole file was refused because of them."""
    content = {
        "state_dict": {"a": torch.ones(2)},
        "meta": {"dataset_meta": {"classes": ("x", "y")}, "epoch": 1},
        "message_hub": {"log_scalars": {"loss": history_buffer}},
    }
    torch.save(content, tmp_path / "x.pth", _use_new_zipfile_serialization=zipped)
    checkpoint = read_checkpoint(tmp_path / "x.pth")
    assert checkpoint.weights.keys() == {"a"}
    assert checkpoint.left_out == ("message_hub",)


def test_a_placeholder_is_no_weight(tmp_path: Path, history_buffer: Any) -> None:
    torch.save({"state_dict": {"a": history_buffer}}, tmp_path / "x.pth")
    with pytest.raises(UserError, match="values that are not tensors: a"):
        read_checkpoint(tmp_path / "x.pth")


@pytest.mark.parametrize("protocol", [3, 4, 5])
@pytest.mark.parametrize("zipped", [True, False])
def test_another_protocol_of_pickle_is_named(tmp_path: Path, zipped: bool, protocol: int) -> None:
    """ "Damaged, download it again" is wrong advice."""
    content = {"state_dict": {"a": torch.ones(2)}, "meta": {"epoch": 1}}
    path = tmp_path / "x.pth"
    torch.save(content, path, pickle_protocol=protocol, _use_new_zipfile_serialization=zipped)
    try:
        assert read_checkpoint(path).weights.keys() == {"a"}
    except UserError as error:
        assert f"x.pth: is pickled with protocol {protocol}" in str(error)  # noqa: PT017
    if protocol == 4:
        with pytest.raises(UserError, match="protocol 4, which PyTorch cannot read without executing code"):
            read_checkpoint(path)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_tensors_with_values_that_are_not_numbers_are_named(dtype: torch.dtype, value: float) -> None:
    weights = {
        "good": torch.ones(3),
        "bad": torch.ones(2, 3, dtype=dtype),
        "empty": torch.zeros(0),
        "count": torch.ones(1).long(),
    }
    require_finite(weights, "x")
    weights["bad"][1, 2] = value
    with pytest.raises(UserError, match="x: 1 of 4 tensors contain NaN or infinity: bad"):
        require_finite(weights, "x")


def test_backbone_weights_that_are_not_numbers_are_refused(tmp_path: Path) -> None:
    backbone = ResNet(ResNetConfig(depth=26, base_width=4))
    state = {name: value.clone() for name, value in backbone.state_dict().items()}
    save_file(state, tmp_path / "good.safetensors")
    load_backbone(backbone, str(tmp_path / "good.safetensors"))
    save_file(state | {"conv1.weight": state["conv1.weight"] * float("nan")}, tmp_path / "x.safetensors")
    with pytest.raises(UserError, match=r"x\.safetensors: 1 of \d+ tensors contain NaN or infinity: conv1\.weight"):
        load_backbone(backbone, str(tmp_path / "x.safetensors"))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_damaged_file_is_refused_or_has_its_weights(tmp_path: Path, data: st.DataObject) -> None:
    """Whatever bytes change, there is no other exception, and no endless work."""
    path = tmp_path / "x.pth"
    torch.save({"state_dict": {"a": torch.arange(8.0)}, "meta": {"epoch": 1}}, path)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    try:
        weights = read_checkpoint(path).weights
    except UserError:
        return
    assert all(isinstance(value, torch.Tensor) for value in weights.values())
