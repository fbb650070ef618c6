"""The `DetectorConfig` of the model part of an official (mmdetection-style) configuration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from codetr.core.errors import UserError
from codetr.models.config import DetectorConfig
from codetr.weights.official.auxiliary_config import read_atss, read_roi, read_rpn, require_auxiliary
from codetr.weights.official.backbone_config import read_backbone, require_neck
from codetr.weights.official.config_reader import REQUIRED, ConfigReader, always, only
from codetr.weights.official.mask_config import read_instance, require_instance
from codetr.weights.official.query_config import ATTENTION_HEADS, KINDS, read_query, require_query

WHERE = "official configuration"

_HEADS = {"detr": "query", "one-stage": "atss", "two-stage": "roi"}


def is_co_detr(model: object) -> bool:
    """Return whether a configuration is that of a Co-DETR detector, supported or not."""
    return isinstance(model, Mapping) and ConfigReader(model).get("query_head.type", "") in KINDS


def read_official_config(model: Mapping[str, Any]) -> DetectorConfig:
    """Read the configuration of a detector from `model` of an official configuration.

    Absent values have the official default. Every value is understood, known to change nothing, or refused.

    Args:
        model: nested plain dicts and lists.

    Raises:
        UserError: it contains parts or values that this package does not support or know; they are listed by path.
    """
    return read_detector(ConfigReader(model))


def read_detector(model: ConfigReader) -> DetectorConfig:
    """Read the configuration of a detector, see `read_official_config`; the reader accounts for the values.

    Raises:
        UserError: see `read_official_config`.
    """
    name = model.get("query_head.type", "")
    kind = KINDS.get(name)
    if kind is None:
        problem = f"{model.at('query_head').path}.type is {name!r}, supported: {', '.join(map(repr, KINDS))}"
        raise UserError(problem, where=WHERE)
    values = _read(model, kind)
    if model.faults:
        # Values that depend on others could not be compared.
        raise model.error(WHERE)
    try:
        config = DetectorConfig.model_validate(values)
    except ValidationError as error:
        raise model.refuse(error, WHERE) from None
    require_neck(model, config)
    require_query(model.at("query_head"), config)
    require_auxiliary(model, config)
    require_instance(model, config)
    model.finish(WHERE)
    return config


def _read(model: ConfigReader, kind: str) -> dict[str, Any]:
    """Return the values of a `DetectorConfig`; the reader notes what cannot be built."""
    model.require(
        {
            "type": only("CoDETR", default="CoDETR"),
            "with_pos_coord": always(True),
            "eval_module": only(*_HEADS, default="detr"),
            "eval_index": always(0),
        }
    )
    values: dict[str, Any] = {
        "backbone": read_backbone(model),
        "detect_head": _HEADS.get(model.get("eval_module", "detr")),
        "rpn": None,
        "roi": None,
        "atss": None,
    }
    values |= model.read("", {"channels": ("neck.out_channels", REQUIRED), "padding_mask": ("with_attn_mask", True)})
    parts = _Parts(model)
    values["query"], queries = read_query(model.at("query_head"), kind, *parts.next())
    values |= model.read("", {"num_classes": ("query_head.num_classes", REQUIRED)})
    model.require_multiple("neck.out_channels", 32, like="the groups of its normalisation")
    for path in ATTENTION_HEADS:
        model.require_multiple("neck.out_channels", model.get(f"query_head.{path}", 8), like=f"query_head.{path}")
    if model.has("mask_head"):
        values["instance"] = read_instance(model, *parts.next())
    else:
        model.require({name: always(None) for name in ("mask_head", "mask_iou_head", "mask_roi_extractor")})
    if model.has("roi_head.0") and model.has("rpn_head"):
        train, test = parts.next()
        values["rpn"] = read_rpn(model.at("rpn_head"), train, test)
        values["roi"] = read_roi(model.at("roi_head.0"), train, test, queries)
    else:
        model.require({"roi_head": only([None], [], None), "rpn_head": always(None)})
    if model.has("bbox_head.0"):
        values["atss"] = read_atss(model.at("bbox_head.0"), *parts.next(), queries)
    else:
        model.require({"bbox_head": only([None], [], None)})
    return values


class _Parts:
    """The parts of `train_cfg` and `test_cfg`, which are lists with one for each head, in a fixed order."""

    def __init__(self, model: ConfigReader) -> None:
        self.model, self.index = model, 0
        if not any(model.has(f"train_cfg.{index}") for index in range(4)):
            # A configuration for tests only; training settings then have the defaults of this package.
            model.require({"train_cfg": only(None, *([None] * count for count in range(5)))})

    def next(self) -> tuple[ConfigReader | None, ConfigReader]:
        """Return the parts of the next head; that of `train_cfg` is None if there is none."""
        train, test = (f"{name}.{self.index}" for name in ("train_cfg", "test_cfg"))
        self.index += 1
        if self.model.has(train):
            return self.model.at(train), self.model.at(test)
        self.model.require({train: always(None)})
        return None, self.model.at(test)
