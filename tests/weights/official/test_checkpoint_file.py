"""Files of official weights: every format, and damaged and malicious files."""

from __future__ import annotations

import argparse
import os
import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from codetr.core.errors import UserError
from codetr.weights.official.checkpoint_file import read_checkpoint

WEIGHTS = {"neck.convs.0.conv.weight": torch.arange(6.0).view(2, 3), "rpn_head.rpn_cls.bias": torch.ones(4)}


class Calls:
    """Unpickling this calls a function, as every pickle may."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


def same(found: dict[str, torch.Tensor]) -> bool:
    return found.keys() == WEIGHTS.keys() and all(torch.equal(found[name], value) for name, value in WEIGHTS.items())


@pytest.mark.parametrize(
    "content",
    [
        WEIGHTS,
        OrderedDict(WEIGHTS),
        {"state_dict": WEIGHTS},
        {"model": WEIGHTS},
        {"state_dict": {f"module.{name}": value for name, value in WEIGHTS.items()}, "meta": {}},
        {"state_dict": {name: torch.nn.Parameter(value) for name, value in WEIGHTS.items()}},
    ],
    ids=["plain", "ordered", "state_dict", "model", "distributed", "parameters"],
)
@pytest.mark.parametrize("zipped", [True, False])
def test_weights_are_found_in_every_form(tmp_path: Path, content: Any, zipped: bool) -> None:
    torch.save(content, tmp_path / "x.pth", _use_new_zipfile_serialization=zipped)
    checkpoint = read_checkpoint(tmp_path / "x.pth")
    assert same(checkpoint.weights)
    assert (checkpoint.meta, checkpoint.averages, checkpoint.left_out) == ({}, (), ())


def test_safetensors(tmp_path: Path) -> None:
    save_file(WEIGHTS, tmp_path / "x.safetensors")
    assert same(read_checkpoint(tmp_path / "x.safetensors").weights)


def test_averages_and_the_optimizer_are_left_out_and_named(tmp_path: Path) -> None:
    """The weights proper are the averages. A name that only looks like a copy is no copy of anything."""
    copies = {"ema_neck_convs_0_conv_weight": torch.zeros(2, 3), "ema_rpn_head_rpn_cls_bias": torch.zeros(4)}
    content = {
        "meta": {"CLASSES": ("a",)},
        "state_dict": {**copies, **WEIGHTS, "ema_of_something": torch.ones(1)},
        "optimizer": {},
    }
    torch.save(content, tmp_path / "x.pth")
    checkpoint = read_checkpoint(tmp_path / "x.pth")
    assert checkpoint.weights.keys() == WEIGHTS.keys() | {"ema_of_something"}
    assert checkpoint.averages == tuple(sorted(copies))
    assert checkpoint.left_out == ("optimizer",)
    assert checkpoint.meta == {"CLASSES": ("a",)}


def test_numbers_of_numpy_in_the_notes_are_passed_over(tmp_path: Path) -> None:
    """mmcv notes the best score so far as one; checkpoints of NumPy 1 name its modules otherwise than NumPy 2 does."""
    notes: dict[str, Any] = {"best": np.float64(0.5), "few": np.float32(1), "flag": np.bool_(True)}
    notes |= {"count": np.int64(3), "losses": np.arange(3)}
    torch.save({"meta": {**notes, "CLASSES": ("a", "b")}, "state_dict": WEIGHTS}, tmp_path / "x.pth")
    assert read_checkpoint(tmp_path / "x.pth").meta["CLASSES"] == ("a", "b")
    torch.save({"meta": notes, "state_dict": WEIGHTS}, tmp_path / "y.pth", _use_new_zipfile_serialization=False)
    content = (tmp_path / "y.pth").read_bytes()
    assert b"numpy._core" in content
    (tmp_path / "y.pth").write_bytes(content.replace(b"numpy._core", b"numpy.core"))
    assert same(read_checkpoint(tmp_path / "y.pth").weights)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("key", ["meta", "state_dict", "optimizer"])
@pytest.mark.parametrize(
    ("function", "named"),
    [(os.mkdir, r"posix\.mkdir"), (exec, "exec"), (Path.touch, "getattr|Path")],
    ids=["mkdir", "exec", "touch"],
)
def test_nothing_in_a_file_is_executed(tmp_path: Path, zipped: bool, key: str, function: Any, named: str) -> None:
    marker = tmp_path / "executed"
    argument = f"open({str(marker)!r}, 'w')" if function is exec else str(marker)
    content: dict[str, dict[str, Any]] = {"meta": {}, "state_dict": dict(WEIGHTS), "optimizer": {}}
    content[key]["x"] = Calls(function, argument)
    torch.save(content, tmp_path / "x.pth", _use_new_zipfile_serialization=zipped)
    with pytest.raises(UserError, match=rf"x\.pth: contains '({named}).*no code was executed"):
        read_checkpoint(tmp_path / "x.pth")
    assert not marker.exists()


def test_a_bare_pickle_is_not_executed(tmp_path: Path) -> None:
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        (tmp_path / "x.pth").write_bytes(pickle.dumps({"x": Calls(os.mkdir, str(tmp_path / "executed"))}, protocol))
        with pytest.raises(UserError, match=r"x\.pth"):
            read_checkpoint(tmp_path / "x.pth")
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    "value", [argparse.Namespace(a=1), Path("x"), torch.Generator()], ids=lambda value: type(value).__name__
)
def test_objects_that_are_no_data_are_named(tmp_path: Path, value: Any) -> None:
    torch.save({"meta": {"x": value}, "state_dict": WEIGHTS}, tmp_path / "x.pth")
    with pytest.raises(
        UserError, match=r"contains '(argparse\.Namespace|pathlib|torch).*neither a tensor nor plain data"
    ):
        read_checkpoint(tmp_path / "x.pth")


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    """Truncated anywhere, and with one bit of a weight changed, which would go unnoticed."""
    torch.save({"state_dict": {"a": torch.full((500,), 7.0)}}, tmp_path / "x.pth")
    whole, path = (tmp_path / "x.pth").read_bytes(), tmp_path / "y.pth"
    for length in (0, 1, 50, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(UserError, match=r"y\.pth.*download it again"):
            read_checkpoint(path)
    flipped = whole.replace(b"\x00\x00\xe0\x40", b"\x00\x01\xe0\x40", 1)
    assert flipped != whole
    path.write_bytes(flipped)
    with pytest.raises(UserError, match=r"y\.pth: is damaged: the checksum of '.*data/0' is wrong"):
        read_checkpoint(path)
    (tmp_path / "y.safetensors").write_bytes(b"\xff" * 100)
    with pytest.raises(UserError, match="cannot be read as weights"):
        read_checkpoint(tmp_path / "y.safetensors")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1, 2], "contains a list"),
        ({}, "contains no weights"),
        ({"state_dict": {}}, "contains no weights"),
        ({"epoch": 3, "a": torch.ones(1)}, "values that are not tensors: epoch"),
        ({"state_dict": {"a": [1.0]}}, "values that are not tensors: a"),
        ({"state_dict": {"a": torch.ones(2).to_sparse()}}, "values that are not tensors: a"),
        ({"state_dict": {"a": torch.empty(2, device="meta")}}, "values that are not tensors: a"),
        ({"state_dict": {3: torch.ones(1)}}, "values that are not tensors: 3"),
    ],
    ids=str,
)
def test_files_without_weights_are_refused(tmp_path: Path, content: Any, message: str) -> None:
    torch.save(content, tmp_path / "x.pth")
    with pytest.raises(UserError, match=message):
        read_checkpoint(tmp_path / "x.pth")


def test_files_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        read_checkpoint(tmp_path / "x.pth")
    with pytest.raises(UserError, match="is a folder"):
        read_checkpoint(tmp_path)


def test_weights_are_maps_of_the_file(tmp_path: Path) -> None:
    """A checkpoint of gigabytes needs no memory before it is used."""
    torch.save({"state_dict": {"a": torch.ones(1 << 20)}}, tmp_path / "x.pth")
    weight = read_checkpoint(tmp_path / "x.pth").weights["a"]
    maps = Path("/proc/self/maps").read_text().splitlines()
    ranges = [line.split()[0].split("-") for line in maps if line.endswith("x.pth")]
    assert any(int(start, 16) <= weight.data_ptr() < int(end, 16) for start, end in ranges)
