"""The configuration of official weights: given, stored in the checkpoint, or that of the recipe with the same keys."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from torch import Tensor

from codetr import zoo
from codetr.core.errors import UserError
from codetr.core.settings import without
from codetr.data.config import PreprocessConfig
from codetr.models.backbones.config import ViTConfig
from codetr.models.config import MEMORY_SETTINGS, DetectorConfig
from codetr.weights.keys import meta_detector
from codetr.weights.model_folder import ModelInfo
from codetr.weights.official.checkpoint_file import OfficialCheckpoint
from codetr.weights.official.config_reader import ConfigReader
from codetr.weights.official.config_text import parse_config_text
from codetr.weights.official.detector_config import is_co_detr, read_detector
from codetr.weights.official.key_names import OfficialKeys
from codetr.weights.official.preprocess_config import read_official_preprocess
from codetr.zoo.recipe import Recipe

OUR_META = "codetr"
"""Key of the metadata under which checkpoints that we write in the official format contain `model.json`, as text."""

_CLASSIFIER_KEY = "query_head.cls_branches.0.weight"

_TRAINING_ONLY = (
    "backbone.drop_path",
    "backbone.frozen_stages",
    *MEMORY_SETTINGS,
    "query.denoising",
    "query.costs",
    "query.loss_weights",
    "query.positive_query_weight",
    *(f"rpn.{name}" for name in ("positive_iou", "negative_iou", "min_positive_iou", "samples", "positive_fraction")),
    *(f"rpn.{name}" for name in ("classification_weight", "box_weight", "train_proposals")),
    *(f"roi.{name}" for name in ("positive_iou", "samples", "positive_fraction", "max_auxiliary_queries")),
    "roi.auxiliary_padding",
    *(f"roi.{name}" for name in ("classification_weight", "giou_weight")),
    "roi.mask.weight",
    *(f"instance.{name}" for name in ("positive_iou", "samples", "positive_fraction")),
    *(f"instance.{name}" for name in ("mask_weight", "stage_weights", "iou_weight")),
    *(f"atss.{name}" for name in ("assigner_candidates", "max_auxiliary_queries", "auxiliary_padding")),
    *(f"atss.{name}" for name in ("classification_weight", "giou_weight", "centerness_weight")),
)
"""Settings of a detector that affect neither its parameters nor its detections. Recipes that differ in any other
setting are not interchangeable, so the user has to choose."""


@dataclass(frozen=True)
class ModelConfiguration:
    """Configuration of official weights.

    Attributes:
        recipe: name of the recipe, for `model.json`.
        model: configuration of the detector, with the number of classes of the weights.
        preprocess: resizing and normalisation of images.
        origin: human-readable source of the configuration.
    """

    recipe: str
    model: DetectorConfig
    preprocess: PreprocessConfig
    origin: str

    @property
    def at_test_time(self) -> dict[str, Any]:
        """All settings that affect detections."""
        model = without(self.model.model_dump(mode="json"), _TRAINING_ONLY)
        return {"model": model, "preprocess": self.preprocess.model_dump(mode="json")}


def count_classes(weights: Mapping[str, Tensor], where: str) -> int:
    """Return the number of classes of official weights.

    Raises:
        UserError: the weights have no classifier.
    """
    classifier = weights.get(_CLASSIFIER_KEY)
    if classifier is None or classifier.dim() != 2 or not len(classifier):
        shown = ", ".join(list(weights)[:3])
        raise UserError(
            f"contains no Co-DETR detector: there is no {_CLASSIFIER_KEY}",
            where=where,
            hint=f"Give weights of Co-DETR; the first keys are {shown}.",
        )
    return len(classifier)


def from_recipe(recipe: Recipe, classes: int) -> ModelConfiguration:
    """Return the configuration of a recipe for a number of classes."""
    model = recipe.model.with_classes(classes)
    return ModelConfiguration(recipe.name, model, recipe.preprocess, f"recipe {recipe.name}")


def from_official_json(content: Mapping[str, Any], name: str, classes: int, origin: str) -> ModelConfiguration:
    """Read an official configuration.

    The preprocessing is that of its test pipeline; without one, that of the recipes with the same detector, or the
    default if there are none.

    Args:
        content: nested plain values, the complete configuration or its part `model`.
        name: name of the configuration, for `model.json`.
        classes: number of classes of the weights.
        origin: source of the configuration, for messages.

    Raises:
        UserError: it has parts that this package does not support, or it is not an official configuration.
    """
    model = content.get("model", content if "query_head" in content else None)
    if not isinstance(model, Mapping):
        hint = "Give a configuration with `model`, or its part `model` with `backbone`, `neck`, `query_head` and so on."
        raise UserError("is not the configuration of a detector", where=origin, hint=hint)
    try:
        config = read_detector(ConfigReader(model, "model" if "model" in content else "")).with_classes(classes)
        preprocess = read_official_preprocess(content)
    except (TypeError, ValueError, AttributeError, LookupError) as error:
        problem = f"has a value of an unexpected type ({type(error).__name__}: {error})"
        hint = "Compare it with a configuration of the official repository."
        raise UserError(problem, where=origin, hint=hint) from None
    if preprocess is None:
        preprocess, source = _default_preprocess(config)
        origin = f"{origin}; preprocessing, which it does not have: {source}"
    return ModelConfiguration(name, config, preprocess, origin)


def find_configuration(checkpoint: OfficialCheckpoint, where: str) -> ModelConfiguration:
    """Return the configuration stored in a checkpoint, otherwise that of the recipe with the same keys and shapes.

    Raises:
        UserError: the stored configuration is that of a detector that this package does not support, no recipe has
            these keys and shapes, or several recipes with different detections have them; these are listed.
    """
    classes = count_classes(checkpoint.weights, where)
    # Stored configurations are sometimes wrong, so they are compared with the weights.
    try:
        for stored in _stored_configurations(checkpoint.meta, classes):
            if fits(stored.model, checkpoint.weights):
                return stored
    except UserError as error:
        # A recipe with the same keys may have other detections.
        hint = "Give the configuration yourself: --recipe NAME or --config FILE."
        raise UserError(f"its configuration cannot be used: {error.problem}", where=where, hint=hint) from None
    return _find_recipe(checkpoint, classes, where)


def fits(config: DetectorConfig, weights: Mapping[str, Tensor]) -> bool:
    """Return whether official weights have exactly the keys and shapes of a detector with this configuration."""
    return _official_keys(config).compare(weights).fits


@cache
def _official_keys(config: DetectorConfig) -> OfficialKeys:
    """Build each detector once: all recipes together take seconds, and every conversion needs them."""
    return OfficialKeys.of(meta_detector(config))


def _stored_configurations(meta: Mapping[str, Any], classes: int) -> Iterator[ModelConfiguration]:
    """Yield the configurations in the metadata of a checkpoint, as far as they can be read."""
    ours, text = meta.get(OUR_META), meta.get("config")
    if isinstance(ours, str):
        with suppress(UserError, ValueError, RecursionError):
            info = ModelInfo.parse(json.loads(ours), where=OUR_META)
            yield ModelConfiguration(info.recipe, info.model.with_classes(classes), info.preprocess, "the checkpoint")
    if isinstance(text, str) and is_co_detr((content := parse_config_text(text)).get("model")):
        yield from_official_json(
            content, _experiment(meta) or "official", classes, "the configuration in the checkpoint"
        )


def _experiment(meta: Mapping[str, Any]) -> str | None:
    """Return the name of the official configuration file that a checkpoint was trained with."""
    name = meta.get("exp_name")
    return Path(name).stem if isinstance(name, str) else None


def _recipes(classes: int) -> Iterator[tuple[ModelConfiguration, bool]]:
    """Yield the configuration of every recipe for a number of classes, and whether that is the recipe's number."""
    for name in zoo.names():
        recipe = zoo.recipe(name)
        yield from_recipe(recipe, classes), recipe.model.num_classes == classes


def _find_recipe(checkpoint: OfficialCheckpoint, classes: int, where: str) -> ModelConfiguration:
    fitting = [(config, same) for config, same in _recipes(classes) if fits(config.model, checkpoint.weights)]
    # Recipes for COCO and LVIS have the same detectors apart from the number of classes.
    candidates = [config for config, same in fitting if same] or [config for config, _ in fitting]
    if not candidates:
        hint = "Give --recipe or --config; the keys that do not fit are listed then."
        raise UserError(f"no recipe has a detector with these {len(checkpoint.weights)} keys", where=where, hint=hint)
    named = [config for config in candidates if config.recipe == _experiment(checkpoint.meta)]
    selected = (named or candidates)[0]
    others = [config for config in candidates if config is not selected]
    if not named and any(config.at_test_time != selected.at_test_time for config in others):
        names = ", ".join(config.recipe for config in candidates)
        hint = "Give --recipe NAME. The recipes differ in preprocessing or in the selection of detections."
        raise UserError(f"the weights fit several recipes: {names}", where=where, hint=hint)
    if others and not named:
        names = ", ".join(config.recipe for config in others)
        return replace(selected, origin=f"{selected.origin}, found by its keys; equal at test time: {names}")
    return replace(selected, origin=f"{selected.origin}, found by its keys")


def _default_preprocess(config: DetectorConfig) -> tuple[PreprocessConfig, str]:
    """Return the preprocessing for a detector without a test pipeline, and its human-readable source."""
    settings = ModelConfiguration("", config, PreprocessConfig(), "").at_test_time["model"]
    candidates = {
        recipe.preprocess for recipe, _ in _recipes(config.num_classes) if recipe.at_test_time["model"] == settings
    }
    if len(candidates) == 1:
        return candidates.pop(), "that of the recipes with this detector"
    if isinstance(config.backbone, ViTConfig) and config.backbone.canvas is not None:
        return PreprocessConfig(canvas=config.backbone.canvas), "the backbone's canvas"
    default = PreprocessConfig()
    return default, f"the default, {default.short_side}x{default.long_side}"
