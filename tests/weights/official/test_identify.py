"""The configuration of official weights: given, stored in the checkpoint, or that of a recipe."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from codetr import zoo
from codetr.core.errors import UserError
from codetr.core.settings import Settings
from codetr.data.config import PreprocessConfig
from codetr.models.config import DetectorConfig
from codetr.weights.keys import meta_detector
from codetr.weights.official.checkpoint_file import OfficialCheckpoint
from codetr.weights.official.identify import (
    _TRAINING_ONLY,
    ModelConfiguration,
    find_configuration,
    from_official_json,
    from_recipe,
)
from codetr.weights.official.key_names import to_official
from codetr.zoo.detectors import co_deformable_detr_r50, co_dino_5scale_swin_large, co_dino_vit_large_lvis
from tests.reference.golden_case import GoldenCase
from tests.support.models.changed_values import changed
from tests.support.training.tiny_training import tiny_config


@pytest.fixture
def recipes(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Makes the zoo hold variants of the tiny recipe: name → changed settings."""

    def put(**variants: dict[str, Any]) -> None:
        def build(name: str) -> Any:
            base = zoo.tiny().model_copy(update={"name": name, "model": tiny_config()})
            return lambda: base.changed(variants[name].items())

        entries = {name: zoo.ZooEntry(build(name), "", 0) for name in variants}
        monkeypatch.setattr(zoo, "ENTRIES", entries)

    return put


def weights(detector: DetectorConfig, **meta: Any) -> OfficialCheckpoint:
    return OfficialCheckpoint(dict(to_official(meta_detector(detector))), meta)


def test_the_recipe_with_the_same_keys_is_found_and_the_weights_say_how_many_classes() -> None:
    found = find_configuration(weights(co_deformable_detr_r50(7)), "x.pth")
    assert found.recipe == "co_deformable_detr_r50_1x_coco"
    assert found.model == co_deformable_detr_r50(7)
    assert found.preprocess == zoo.recipe(found.recipe).preprocess
    assert "found by its keys" in found.origin


def test_of_recipes_that_differ_only_in_training_the_first_is_used_and_the_others_are_named(recipes: Any) -> None:
    recipes(
        short={"training.epochs": 12},
        long={"training.epochs": 36, "model.query.loss_weights.l1": 3.0, "model.backbone.frozen_stages": 1},
    )
    found = find_configuration(weights(tiny_config()), "x.pth")
    assert found.recipe == "short"
    assert "equal at test time: long" in found.origin


@pytest.mark.parametrize(
    "change",
    [
        {"preprocess.short_side": 99},
        {"model.query.max_detections": 5},
        {"model.roi.nms.iou_threshold": 0.6},
        {"model.rpn.test_proposals.iou_threshold": 0.6},
        {"model.padding_mask": False},
    ],
    ids=str,
)
def test_recipes_with_different_detections_are_ambiguous(recipes: Any, change: dict[str, Any]) -> None:
    recipes(one={}, another=change)
    with pytest.raises(UserError, match=r"x\.pth: the weights fit several recipes: one, another.*--recipe NAME"):
        find_configuration(weights(tiny_config()), "x.pth")
    # The official training script notes the name of its configuration file.
    assert find_configuration(weights(tiny_config(), exp_name="another.py"), "x.pth").recipe == "another"


def test_a_recipe_for_as_many_classes_comes_first(recipes: Any) -> None:
    """Recipes for COCO and LVIS have the same detectors apart from the number of classes."""
    recipes(coco={}, lvis={"model.num_classes": 9, "model.query.max_detections": 5})
    assert find_configuration(weights(tiny_config().with_classes(9)), "x.pth").recipe == "lvis"
    assert find_configuration(weights(tiny_config()), "x.pth").recipe == "coco"


def test_weights_of_no_recipe_ask_for_a_configuration() -> None:
    with pytest.raises(UserError, match=r"x\.pth: no recipe has a detector with these \d+ keys.*--recipe or --config"):
        find_configuration(weights(tiny_config()), "x.pth")
    with pytest.raises(UserError, match=r"x\.pth: contains no Co-DETR detector.*cls_branches.*first keys are a"):
        find_configuration(OfficialCheckpoint({"a": torch.ones(1)}), "x.pth")


def test_every_setting_called_training_only_exists() -> None:
    """A renamed one would make recipes differ, and `convert` would require --recipe without a reason."""
    masks = tiny_config().override(["roi.mask={}", "instance={}"])
    configs: list[Settings] = [masks, tiny_config("co_deformable"), co_dino_5scale_swin_large(3, drop_path=0.1)]
    dumped = [config.model_dump() for config in configs]

    def exists(node: Any, path: str) -> bool:
        for part in path.split("."):
            if not isinstance(node, dict) or part not in node:
                return False
            node = node[part]
        return True

    assert [path for path in _TRAINING_ONLY if not any(exists(node, path) for node in dumped)] == []


def test_settings_at_test_time_leave_the_training_ones_out() -> None:
    one = ModelConfiguration("a", tiny_config(), PreprocessConfig(), "")
    changes = [("query.denoising.queries", 7), ("rpn.samples", 5), ("roi.samples", 5), ("atss.giou_weight", 1.0)]
    other = ModelConfiguration("b", tiny_config().changed(changes), PreprocessConfig(), "")
    assert one.at_test_time == other.at_test_time
    without = ModelConfiguration("c", tiny_config().changed([("atss", None)]), PreprocessConfig(), "")
    assert one.at_test_time != without.at_test_time


# Configurations stored in checkpoints


@pytest.fixture
def case(golden: Path) -> GoldenCase:
    return GoldenCase(golden / "models" / "co_dino_s0")


def as_python(value: Any) -> str:
    """As mmcv writes configurations into checkpoints."""
    if isinstance(value, dict):
        return f"dict({', '.join(f'{name}={as_python(part)}' for name, part in value.items())})"
    if isinstance(value, list):
        return f"[{', '.join(map(as_python, value))}]"
    return repr(value)


PIPELINE: list[dict[str, Any]] = [
    {"type": "LoadImageFromFile"},
    {
        "type": "MultiScaleFlipAug",
        "img_scale": [2048, 1280],
        "flip": False,
        "transforms": [
            {"type": "Resize", "keep_ratio": True},
            {"type": "Normalize", "mean": [1.0, 2.0, 3.0], "std": [4.0, 5.0, 6.0], "to_rgb": True},
            {"type": "Pad", "size_divisor": 32},
        ],
    },
]


def test_the_configuration_in_a_checkpoint_is_read_without_being_executed(case: GoldenCase, tmp_path: Path) -> None:
    text = "\n".join(
        (
            f"model = {as_python(case.json('config'))}",
            f"data = dict(test=dict(pipeline={as_python(PIPELINE)}))",
            f"log = open({str(tmp_path / 'executed')!r}, 'w')",
            "import os",
        )
    )
    checkpoint = OfficialCheckpoint(case.arrays("state_dict"), {"config": text, "exp_name": "mine.py"})
    found = find_configuration(checkpoint, "x.pth")
    assert found.recipe == "mine"
    assert found.model == case.detector().config
    expected = PreprocessConfig(mean=(1, 2, 3), std=(4, 5, 6), short_side=1280, long_side=2048, pad_divisor=32)
    assert found.preprocess == expected
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    "text", ["model = dict(", "model = f()", "model = 3", "", "x" * 2_000_000, "model = dict(backbone=[1])", "(" * 9999]
)
def test_a_configuration_in_a_checkpoint_that_is_none_is_ignored(text: str) -> None:
    checkpoint = weights(co_deformable_detr_r50(80), config=text, codetr=text)
    assert find_configuration(checkpoint, "x.pth").recipe == "co_deformable_detr_r50_1x_coco"


def test_a_configuration_in_a_checkpoint_that_does_not_fit_is_ignored(case: GoldenCase) -> None:
    text = f"model = {as_python(case.json('config'))}"
    found = find_configuration(weights(co_deformable_detr_r50(80), config=text), "x.pth")
    assert found.recipe == "co_deformable_detr_r50_1x_coco"


def test_a_configuration_in_a_checkpoint_that_cannot_be_built_is_not_replaced_by_a_recipe(case: GoldenCase) -> None:
    """Its weights have the keys of a recipe, whose detections would differ without a word."""
    text = f"model = {as_python(changed(case.json('config'), 'query_head.mixed_selection', False))}"
    with pytest.raises(UserError, match=r"model.query_head.mixed_selection is False.*--recipe NAME") as caught:
        find_configuration(OfficialCheckpoint(case.arrays("state_dict"), {"config": text}), "x.pth")
    assert "x.pth" in str(caught.value)


# Official configurations as JSON


def test_a_complete_configuration_has_the_preprocessing(case: GoldenCase) -> None:
    content = {"model": case.json("config"), "data": {"test": {"pipeline": PIPELINE}}}
    found = from_official_json(content, "mine", 7, "mine.json")
    assert (found.preprocess.short_side, found.preprocess.pad_divisor, found.origin) == (1280, 32, "mine.json")


def test_the_part_model_alone_has_the_preprocessing_of_its_recipe_or_the_default(case: GoldenCase) -> None:
    found = from_official_json(case.json("config"), "mine", 7, "mine.json")
    assert found.preprocess == PreprocessConfig()
    assert "mine.json; preprocessing, which it does not have" in found.origin


def test_a_canvas_is_read(case: GoldenCase) -> None:
    pipeline = json.loads(json.dumps(PIPELINE))
    pipeline[1]["img_scale"] = [1024, 1024]
    # Before Normalize, so that the value is a grey of the image.
    pipeline[1]["transforms"][2] = {"type": "Pad", "size": [1024, 1024], "pad_val": {"img": [114, 114, 114]}}
    pipeline[1]["transforms"][1:] = pipeline[1]["transforms"][:0:-1]
    content = {"model": case.json("config"), "test_pipeline": pipeline}
    assert from_official_json(content, "mine", 7, "mine.json").preprocess.canvas == 1024


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("img_scale",), [[1333, 800], [1000, 600]], "img_scale is"),
        (("flip",), True, "flip is True"),
        (("transforms", 0, "keep_ratio"), False, "keep_ratio is False"),
        (("transforms", 1, "to_rgb"), False, "to_rgb is False"),
        (("transforms", 1), {"type": "PhotoMetricDistortion"}, "transforms.1.type is 'PhotoMetricDistortion'"),
        (("transforms", 2, "pad_val"), {"img": 114}, "transforms.2.pad_val.img is 114, supported: 0"),
        (("transforms",), PIPELINE[1]["transforms"][::-1], r"transforms has \['Pad', 'Normalize', 'Resize'\]"),
        (("transforms", 2), {"type": "Pad", "size": [512, 512]}, r"transforms.2.size is \[512, 512\]"),
    ],
    ids=str,
)
def test_unsupported_preprocessing_is_named(case: GoldenCase, path: tuple[Any, ...], value: Any, message: str) -> None:
    pipeline = json.loads(json.dumps(PIPELINE))
    node = pipeline[1]
    for part in path[:-1]:
        node = node[part]
    node[path[-1]] = value
    with pytest.raises(UserError, match=rf"test pipeline: .*{message}"):
        from_official_json({"model": case.json("config"), "test_pipeline": pipeline}, "mine", 7, "mine.json")


@pytest.mark.parametrize(
    "content",
    [{}, {"model": 3}, {"backbone": {}}, {"query_head": {"type": "CoDINOHead"}}, {"query_head": {"type": []}}],
    ids=str,
)
def test_what_is_no_configuration_is_refused(content: dict[str, Any]) -> None:
    with pytest.raises(UserError):
        from_official_json(content, "mine", 7, "mine.json")


def test_a_recipe_is_given() -> None:
    found = from_recipe(zoo.recipe("tiny"), 9)
    assert (found.recipe, found.model.num_classes) == ("tiny", 9)


def test_the_canvas_of_a_backbone_is_that_of_its_images(golden: Path) -> None:
    config = GoldenCase(golden / "models" / "co_dino_vit_s0").json("config")
    config["backbone"] |= {"use_lsj": True, "img_size": 160}
    assert from_official_json(config, "mine", 7, "mine.json").preprocess.canvas == 160
    assert co_dino_vit_large_lvis(3).backbone.canvas == 1536  # type: ignore[union-attr]
