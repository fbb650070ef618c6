"""Parts that several heads of an official (mmdetection-style) configuration have."""

from __future__ import annotations

from typing import Any

from codetr.models.config import DetectorConfig
from codetr.weights.official.config_reader import REQUIRED, ConfigReader, Only, always, only

Fields = dict[str, tuple[str, Any]]

REGIONS: Fields = {
    "positive_iou": ("assigner.pos_iou_thr", REQUIRED),
    "samples": ("sampler.num", REQUIRED),
    "positive_fraction": ("sampler.pos_fraction", REQUIRED),
}
"""Our names of the settings that assign regions to objects and sample them."""

_NMS: Fields = {
    "method": ("type", "nms"),
    "iou_threshold": ("iou_threshold", REQUIRED),
    "min_score": ("min_score", 1e-3),
}

_LOSS: dict[str, Only] = {
    "reduction": always("mean"),
    "activated": always(False),
    "class_weight": always(None),
    "ignore_index": always(None),
    "avg_non_ignore": always(False),
    "eps": always(1e-6),
}


def losses(*names: str) -> dict[str, Only]:
    """Return settings that are constants in every loss, for the losses with these names."""
    return {f"{name}.{setting}": value for name in names for setting, value in _LOSS.items()}


def focal(name: str) -> dict[str, Only]:
    """Return the constants of a focal loss."""
    return {
        f"{name}.type": only("FocalLoss"),
        f"{name}.use_sigmoid": always(True),
        f"{name}.gamma": always(2.0),
        f"{name}.alpha": always(0.25),
    }


def box_coder(deviations: bool) -> dict[str, Only]:
    """Return the constants of a box coder, of its deviations too unless they are a setting of the head."""
    constants = {
        "bbox_coder.type": only("DeltaXYWHBBoxCoder"),
        "bbox_coder.target_means": always([0.0] * 4),
        "bbox_coder.clip_border": always(True),
        "bbox_coder.add_ctr_clamp": always(False),
    }
    return constants if deviations else constants | {"bbox_coder.target_stds": always([1.0] * 4)}


def anchors() -> dict[str, Only]:
    """Return the constants of an anchor generator."""
    name = "anchor_generator"
    return {
        f"{name}.type": only("AnchorGenerator"),
        f"{name}.scales": always(None),
        f"{name}.base_sizes": always(None),
        f"{name}.scale_major": always(True),
        f"{name}.centers": always(None),
        f"{name}.center_offset": always(0.0),
    }


def assigner(low_quality: bool) -> dict[str, Only]:
    """Return the constants of an assigner by IoU, which may take an object's best regions below the threshold."""
    return {
        "assigner.type": only("MaxIoUAssigner"),
        "assigner.match_low_quality": only(low_quality, default=True),
        "assigner.gt_max_assign_all": always(True),
        "assigner.ignore_iof_thr": always(-1),
        "assigner.ignore_wrt_candidates": always(True),
        "assigner.iou_calculator.type": always("BboxOverlaps2D"),
    }


def sampler(with_objects: bool) -> dict[str, Only]:
    """Return the constants of a sampler, which may have the objects among the regions."""
    return {
        "sampler.type": only("RandomSampler"),
        "sampler.neg_pos_ub": always(-1),
        "sampler.add_gt_as_proposals": only(with_objects, default=True),
    }


def require_regions(train: ConfigReader) -> None:
    """Check how regions are assigned to objects and sampled."""
    train.require(assigner(low_quality=False) | sampler(with_objects=True))
    positive = train.get("assigner.pos_iou_thr")
    train.require({"assigner.neg_iou_thr": only(positive, like=f"{train.path}.assigner.pos_iou_thr")})
    train.pass_over(
        {
            "assigner.min_pos_iou": "read with match_low_quality only",
            "assigner.gpu_assign_thr": "trades time for memory",
            "debug": "not read by the official code",
        }
    )


def require_roi_extractor(extractor: ConfigReader, config: DetectorConfig) -> None:
    """Check the pooling of regions from the levels of a detector with this configuration."""
    extractor.require(
        {
            "type": only("SingleRoIExtractor"),
            "roi_layer.type": only("RoIAlign"),
            "roi_layer.sampling_ratio": always(0),
            "roi_layer.pool_mode": always("avg"),
            "roi_layer.aligned": always(True),
            "featmap_strides": only(list(config.strides), like="the maps of the backbone"),
        }
        | widths(config, "out_channels", default=None)
    )


def read_nms(test: ConfigReader, target: str) -> dict[str, Any] | None:
    """Read the values of an `NMSConfig`, None without suppression.

    Args:
        test: part of `test_cfg`.
        target: path of the settings in `DetectorConfig`.
    """
    if not test.has("nms"):
        test.require({"nms": always(None)})
        return None
    suppression = test.at("nms")
    suppression.require({"method": always("linear"), "class_agnostic": always(False), "split_thr": always(10000)})
    suppression.pass_over({"sigma": "read with the method gaussian only"})
    return suppression.read(target, _NMS)


def widths(config: DetectorConfig, *names: str, default: int | None = 256) -> dict[str, Only]:
    """Return settings that must equal the width of the detector."""
    return {name: only(config.channels, default=default, like="neck.out_channels") for name in names}


def classes(config: DetectorConfig) -> dict[str, Only]:
    """Return the setting of a head that must be the number of classes of the detector."""
    return {"num_classes": only(config.num_classes, default=80, like="query_head.num_classes")}
