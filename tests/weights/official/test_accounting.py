"""Every value of the published configurations is accounted for: none can change a detector and be ignored.

A changed value must give another configuration, be known to change nothing (with the reason), or be refused with its
path.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest

from codetr.core.errors import UserError
from codetr.core.settings import Settings
from codetr.weights.official.config_reader import ConfigReader, leaves
from codetr.weights.official.detector_config import read_detector
from codetr.weights.official.preprocess_config import read_preprocess
from tests.support.models.changed_values import another, changed
from tests.support.paths import ROOT

GOLDEN = ROOT / "tests" / "golden"
MODELS: dict[str, Any] = json.loads((GOLDEN / "official_models.json").read_text())
# Everything but `model`, of as many configurations as have all paths and all test pipelines.
SURROUNDINGS: dict[str, Any] = json.loads((GOLDEN / "official_surroundings.json").read_text())
Read = Callable[[ConfigReader], Settings | None]


def distinct_values(files: dict[str, Any]) -> Iterator[tuple[str, str, Any]]:
    """Yield a file, a path and a value, for every pair of path and value of all files once."""
    seen = set()
    for name, content in files.items():
        for path, value in leaves(content, ""):
            if (path, repr(value)) not in seen:
                seen.add((path, repr(value)))
                yield name, path, value


def unaccounted(read: Read, content: Any, expected: Settings | None, path: str, value: Any) -> str | None:
    """Return what is wrong with how a changed value is read, None if nothing is."""
    reader = ConfigReader(changed(content, path, value))
    try:
        result = read(reader)
    except UserError as error:
        return None if path in str(error) else f"{path}={value!r} is refused without its path: {error}"
    passed = any(path == part or path.startswith(f"{part}.") for part in reader.irrelevant)
    return None if result != expected or passed else f"{path}={value!r} is ignored"


@pytest.mark.parametrize(
    ("read", "files"), [(read_detector, MODELS), (read_preprocess, SURROUNDINGS)], ids=["model", "all but model"]
)
@pytest.mark.parametrize("change", [another, lambda value: {"type": "Other"}], ids=["another value", "a part"])
def test_no_changed_value_is_ignored(read: Read, files: dict[str, Any], change: Callable[[Any], Any]) -> None:
    expected = {name: read(ConfigReader(content)) for name, content in files.items()}
    faults = [
        unaccounted(read, files[name], expected[name], path, change(value))
        for name, path, value in distinct_values(files)
    ]
    assert [fault for fault in faults if fault] == []


@pytest.mark.parametrize("name", ["co_deformable_detr_mask_r50_1x_coco", "co_dino_5scale_vit_large_coco_instance"])
def test_a_new_value_anywhere_is_refused_with_its_path(name: str) -> None:
    """An option of a fork or of a later version must not be taken for the default."""
    parts = {path.rpartition(".")[0] for path, _ in leaves(MODELS[name], "")}
    for part in parts:
        path = f"{part}.new_option" if part else "new_option"
        reader = ConfigReader(changed(MODELS[name], path, 3))
        with suppress(UserError):
            read_detector(reader)
        refused = f"{path} is 3, which this package does not know" in reader.faults
        assert refused or any(path.startswith(f"{passed}.") for passed in reader.irrelevant)


ABSENT = {
    "query_head.as_two_stage": "query_head.as_two_stage is False",
    "query_head.sync_cls_avg_factor": "query_head.sync_cls_avg_factor is False",
    "query_head.loss_cls.type": "query_head.loss_cls.type is None",
    "query_head.transformer.decoder.return_intermediate": "return_intermediate is False",
    "query_head.transformer.encoder.transformerlayers.attn_cfgs.dropout": "dropout is 0.1",
    "query_head.transformer.num_co_heads": "num_co_heads is 1",
    "neck.kernel_size": "neck.kernel_size is 3",
    "neck.norm_cfg": "neck.norm_cfg.type is None",
    "neck.act_cfg": "neck.act_cfg is {'type': 'ReLU'}",
    "rpn_head.anchor_generator.ratios": "rpn_head.anchor_generator.ratios is missing",
    "roi_head.0.bbox_head.reg_decoded_bbox": "reg_decoded_bbox is False",
    "train_cfg.0.assigner.reg_cost.box_format": "box_format is 'xyxy'",
    "test_cfg.1.rcnn.score_thr": "score_thr is missing",
}


@pytest.mark.parametrize("path", ABSENT)
def test_an_absent_value_has_the_official_default(path: str) -> None:
    """The official default is often not what the published detectors have."""
    content = changed(MODELS["co_dino_5scale_r50_1x_coco"], path, None)
    *parents, last = path.split(".")
    node = content
    for part in parents:
        node = node[int(part) if isinstance(node, list) else part]
    del node[last]
    with pytest.raises(UserError) as caught:
        read_detector(ConfigReader(content))
    assert ABSENT[path] in str(caught.value)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("query_head.lambda_1", 2.0),
        ("query_head.transformer.decoder.transformerlayers.attn_cfgs.0.num_heads", 4),
        ("query_head.transformer.decoder.transformerlayers.attn_cfgs.1.num_heads", 16),
        ("query_head.transformer.encoder.transformerlayers.attn_cfgs.num_heads", 4),
        ("query_head.use_zero_padding", True),
        ("query_head.max_pos_coords", 100),
        ("query_head.loss_cls.loss_weight", 3.0),
        ("train_cfg.0.assigner.cls_cost.weight", 1.0),
        ("test_cfg.0.score_thr", 0.1),
    ],
)
def test_what_published_configurations_do_not_vary_is_read(path: str, value: Any) -> None:
    model = MODELS["co_dino_5scale_r50_1x_coco"]
    assert read_detector(ConfigReader(changed(model, path, value))) != read_detector(ConfigReader(model))


def test_heads_of_each_attention_are_read() -> None:
    layers = "query_head.transformer.{}.transformerlayers.attn_cfgs.{}num_heads"
    model = changed(MODELS["co_dino_5scale_r50_1x_coco"], layers.format("encoder", ""), 4)
    model = changed(model, layers.format("decoder", "0."), 16)
    transformer = read_detector(ConfigReader(model)).query.transformer
    # The cross-attention has the official default.
    assert (transformer.attention_heads, transformer.decoder_heads) == (4, (16, 8))


def test_zero_padding_is_refused_where_the_official_losses_are_nan() -> None:
    model = changed(MODELS["co_deformable_detr_r50_1x_coco"], "query_head.use_zero_padding", True)
    with pytest.raises(UserError, match=r"query_head\.use_zero_padding is True, supported: False"):
        read_detector(ConfigReader(model))
    model = changed(MODELS["co_dino_5scale_r50_1x_coco"], "query_head.use_zero_padding", True)
    config = read_detector(ConfigReader(model))
    assert config.roi is not None
    assert config.atss is not None
    assert (config.roi.auxiliary_padding, config.atss.auxiliary_padding) == ("zeros", "zeros")


def test_a_configuration_for_tests_only_has_no_training_settings() -> None:
    model = MODELS["co_dino_5scale_r50_1x_coco"]
    assert read_detector(ConfigReader({**model, "train_cfg": None})) == read_detector(ConfigReader(model))
