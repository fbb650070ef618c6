"""Official weights: the way in and back out, and everything that can be wrong with them."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch

from codetr.core.errors import UserError
from codetr.weights.keys import non_persistent_buffers
from codetr.weights.official.key_names import from_official, load_official, to_official
from tests.reference.golden_case import GoldenCase

CASES = (
    "co_deformable_s0",
    "co_deformable_mask_s0",
    "co_dino_s0",
    "co_dino_swin_s0",
    "co_dino_vit_s0",
    "co_dino_vit_instance_s0",
)


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest, golden: Path) -> GoldenCase:
    return GoldenCase(golden / "models" / request.param)


def test_weights_come_out_as_they_went_in(case: GoldenCase) -> None:
    weights = case.arrays("state_dict")
    detector = case.detector()
    written = to_official(detector)
    assert written.keys() - non_persistent_buffers(detector).keys() == weights.keys()
    assert all(torch.equal(written[name], value) for name, value in weights.items())


@pytest.mark.parametrize("case", ["co_deformable_s0", "co_dino_s0"], indirect=True)
def test_all_keys_that_do_not_fit_are_named_and_nothing_is_loaded(case: GoldenCase) -> None:
    weights, detector = case.arrays("state_dict"), case.detector()
    before = copy.deepcopy(detector.state_dict())
    del weights["query_head.cls_branches.0.bias"], weights["rpn_head.rpn_cls.weight"]
    weights["ema_neck_weight"] = torch.zeros(1)
    weights["neck.convs.0.gn.weight"] = torch.zeros(3)
    weights["neck.convs.1.gn.weight"] += 1
    with pytest.raises(UserError) as caught:
        load_official(detector, weights)
    message = str(caught.value)
    for part in (
        "4 keys do not fit",
        "missing: query_head.cls_branches.0.bias",
        "missing: rpn_head.rpn_cls.weight",
        "unexpected: ema_neck_weight",
        "neck.convs.0.gn.weight: expected [64], got [3]",
    ):
        assert part in message
    assert all(torch.equal(before[name], value) for name, value in detector.state_dict().items())


def test_constants_are_written_and_may_be_given_if_they_fit(golden: Path) -> None:
    """Published Swin checkpoints contain them, and the official code requires them; a file without them is complete."""
    case = GoldenCase(golden / "models" / "co_dino_swin_s0")
    detector = case.detector()
    name = "backbone.layers.1.blocks.0.attn.relative_position_index"
    assert name not in detector.state_dict()
    weights = to_official(detector)
    weights[name] = torch.zeros_like(weights[name])
    load_official(detector, weights)
    assert detector.get_buffer(name).max() == 80  # windows of 5×5 tokens know 9×9 offsets
    weights[name] = torch.zeros(49, 49, dtype=torch.int64)
    with pytest.raises(
        UserError, match=r"1 keys.*: shape of .*relative_position_index: expected \[25, 25\], got \[49, 49\]"
    ):
        load_official(detector, weights)


def test_half_precision_weights_are_read(case: GoldenCase) -> None:
    weights = {
        name: value.half() if value.is_floating_point() else value for name, value in case.arrays("state_dict").items()
    }
    detector = from_official(case.json("config"), weights)
    assert {parameter.dtype for parameter in detector.parameters()} == {torch.float32}
