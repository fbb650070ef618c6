"""Configuration of a detector: mistakes are named, derived values follow."""

from __future__ import annotations

import pytest

from codetr.core.errors import UserError
from codetr.models.config import DetectorConfig, InstanceHeadConfig
from codetr.zoo.detectors import (
    co_deformable_detr_mask_r50,
    co_deformable_detr_r50,
    co_dino_5scale_r50,
    co_dino_vit_large_coco,
)


def test_published_detectors() -> None:
    assert co_deformable_detr_r50(80).dense_strides == (8, 16, 32, 64, 128)
    assert co_dino_5scale_r50(80).dense_strides == (4, 8, 16, 32, 64, 128)
    assert co_dino_5scale_r50(80).auxiliary_heads == ("roi", "atss")


def test_a_configuration_survives_being_written_as_json() -> None:
    for config in (co_deformable_detr_r50(3), co_dino_5scale_r50(3), co_dino_vit_large_coco(3)):
        assert DetectorConfig.parse(config.model_dump(mode="json")) == config


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("channels=100", "multiple of norm_groups"),
        ("backbone.out_stages=[2,1]", "backbone.resnet.out_stages: must be ascending"),
        ("backbone.out_stages=[]", "backbone"),
        ("backbone.depth=34", "backbone.resnet.depth"),
        ("backbone.kind=swin", "backbone.swin.depth"),
        ("backbone.kind=vgg", "backbone.*'resnet'"),
        ("rpn=null", "rpn and roi belong together"),
        ("num_classes=0", "num_classes"),
        ("detect_head=boxes", "detect_head"),
        ("query.denoising.label_noise=2", "label_noise"),
        ("query.nms.method=hard", "query.*nms.method"),
    ],
)
def test_mistakes_are_named_by_path(assignment: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        co_dino_5scale_r50(80).override([assignment])


def test_heads_can_be_switched_off() -> None:
    assert co_dino_5scale_r50(80).override(["rpn=null", "roi=null", "atss=null"]).auxiliary_heads == ()


def test_the_head_that_detects_must_be_there_and_decides_whether_there_are_masks() -> None:
    """Evaluation of masks would fail after hours of training if the head does not predict them."""
    masked = co_deformable_detr_mask_r50(80)
    assert masked.needs_masks
    assert masked.gives_masks
    with pytest.raises(UserError, match="detect_head is 'roi', which is not enabled; enabled heads: query, atss"):
        masked.override(["rpn=null", "roi=null"])
    boxes_only = masked.override(["detect_head=query"])
    assert boxes_only.needs_masks
    assert not boxes_only.gives_masks
    instance = co_dino_5scale_r50(80).model_copy(update={"instance": InstanceHeadConfig()})
    assert instance.gives_masks
    assert not instance.override(["detect_head=roi"]).gives_masks
