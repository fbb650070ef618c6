"""Which detector given official weights belong to: told, written in the checkpoint, or found among the recipes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
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
from codetr.weights.official.config_text import parse_config_text
from codetr.weights.official.detector_config import read_official_config
from codetr.weights.official.key_names import official_report
from codetr.weights.official.preprocess_config import read_official_preprocess
from codetr.zoo.recipe import Recipe

OUR_META = "codetr"
"""Where checkpoints that we write in the official format keep `model.json`, as text."""

_CLASSIFIER = "query_head.cls_branches.0.weight"

_TRAINING_ONLY = (
    "backbone.drop_path",
    "backbone.frozen_stages",
    *MEMORY_SETTINGS,
    "query.denoising",
    "query.costs",
    "query.loss_weights",
    *(f"rpn.{name}" for name in ("positive_iou", "negative_iou", "min_positive_iou", "samples", "positive_fraction")),
    *(f"rpn.{name}" for name in ("classification_weight", "box_weight", "train_proposals")),
    *(f"roi.{name}" for name in ("positive_iou", "samples", "positive_fraction", "max_auxiliary_queries")),
    *(f"roi.{name}" for name in ("classification_weight", "giou_weight")),
    "roi.mask.weight",
    *(f"instance.{name}" for name in ("positive_iou", "samples", "positive_fraction")),
    *(f"instance.{name}" for name in ("mask_weight", "stage_weights", "iou_weight")),
    *(f"atss.{name}" for name in ("assigner_candidates", "max_auxiliary_queries")),
    *(f"atss.{name}" for name in ("classification_weight", "giou_weight", "centerness_weight")),
)
"""Settings of a detector that change neither its weights nor its detections. One that is not listed counts as
different, so that a choice is asked for rather than made."""


@dataclass(frozen=True)
class ModelConfiguration:
    """What weights are used with.

    Attributes:
        recipe: its name, as `model.json` has it.
        model: with as many classes as the weights have.
        preprocess: how images are prepared.
        origin: where this is known from, for people.
    """

    recipe: str
    model: DetectorConfig
    preprocess: PreprocessConfig
    origin: str

    @property
    def at_test_time(self) -> dict[str, Any]:
        """All settings that detections depend on."""
        model = without(self.model.model_dump(mode="json"), _TRAINING_ONLY)
        return {"model": model, "preprocess": self.preprocess.model_dump(mode="json")}


def count_classes(weights: Mapping[str, Tensor], where: str) -> int:
    """The number of classes that official weights tell apart.

    Raises:
        UserError: there is no classifier among them.
    """
    classifier = weights.get(_CLASSIFIER)
    if classifier is None or classifier.dim() != 2 or not len(classifier):
        shown = ", ".join(list(weights)[:3])
        raise UserError(
            f"holds no Co-DETR detector: there is no {_CLASSIFIER}", where=where, hint=f"It begins with {shown}."
        )
    return len(classifier)


def from_recipe(recipe: Recipe, classes: int) -> ModelConfiguration:
    """A recipe's detector, for so many classes."""
    model = recipe.model.with_classes(classes)
    return ModelConfiguration(recipe.name, model, recipe.preprocess, f"the recipe {recipe.name}")


def from_official_json(content: Mapping[str, Any], name: str, classes: int, origin: str) -> ModelConfiguration:
    """An official configuration, whole or its part `model`, as nested plain values.

    How images are prepared is read from its test pipeline. The part alone does not say: then it is as in the recipes
    with the same detector, or as usual if there are none.

    Raises:
        UserError: there are parts that cannot be built, or it is no such configuration.
    """
    model = content.get("model", content if "query_head" in content else None)
    if not isinstance(model, Mapping):
        hint = "It has `model`, or is the part `model` itself, with `backbone`, `neck`, `query_head` and so on."
        raise UserError("is no configuration of a detector", where=origin, hint=hint)
    try:
        config = read_official_config(model).with_classes(classes)
        preprocess = read_official_preprocess(content)
    except (TypeError, ValueError, AttributeError, LookupError) as error:
        problem = f"holds a value of an unexpected kind ({type(error).__name__}: {error})"
        raise UserError(problem, where=origin) from None
    if preprocess is None:
        preprocess, source = _usual_preprocess(config)
        origin = f"{origin}; it does not say how images are prepared, that is {source}"
    return ModelConfiguration(name, config, preprocess, origin)


def find_configuration(checkpoint: OfficialCheckpoint, where: str) -> ModelConfiguration:
    """The configuration that a checkpoint carries, or else that of the recipe with exactly its keys and shapes.

    Raises:
        UserError: no recipe has them, or several have whose detections differ; they are listed then.
    """
    classes = count_classes(checkpoint.weights, where)
    # What the file says about itself is not always true, so it has to fit.
    for carried in _carried(checkpoint.meta, classes):
        if fits(carried.model, checkpoint.weights):
            return carried
    return _among_recipes(checkpoint, classes, where)


def fits(config: DetectorConfig, weights: Mapping[str, Tensor]) -> bool:
    """Whether official weights have exactly the keys and shapes of such a detector."""
    return official_report(meta_detector(config), weights).fits


def _carried(meta: Mapping[str, Any], classes: int) -> Iterator[ModelConfiguration]:
    """What a checkpoint says about itself, as far as it can be read."""
    ours, text = meta.get(OUR_META), meta.get("config")
    if isinstance(ours, str):
        with suppress(UserError, ValueError, RecursionError):
            info = ModelInfo.parse(json.loads(ours), where=OUR_META)
            yield ModelConfiguration(info.recipe, info.model.with_classes(classes), info.preprocess, "the checkpoint")
    if isinstance(text, str):
        with suppress(UserError):
            name = _experiment(meta) or "official"
            yield from_official_json(parse_config_text(text), name, classes, "the configuration in the checkpoint")


def _experiment(meta: Mapping[str, Any]) -> str | None:
    """The official name of the configuration file that a checkpoint was trained with."""
    name = meta.get("exp_name")
    return Path(name).stem if isinstance(name, str) else None


def _recipes(classes: int) -> Iterator[tuple[ModelConfiguration, bool]]:
    """Every recipe for so many classes, and whether they are the recipe's own number."""
    for name in zoo.names():
        recipe = zoo.recipe(name)
        yield from_recipe(recipe, classes), recipe.model.num_classes == classes


def _among_recipes(checkpoint: OfficialCheckpoint, classes: int, where: str) -> ModelConfiguration:
    fitting = [(found, own) for found, own in _recipes(classes) if fits(found.model, checkpoint.weights)]
    # COCO's recipes and LVIS' have the same detectors but for the number of classes.
    candidates = [found for found, own in fitting if own] or [found for found, _ in fitting]
    if not candidates:
        hint = "Say which it is, with --recipe or --config; the keys that do not fit are listed then."
        raise UserError(f"no recipe has a detector with these {len(checkpoint.weights)} keys", where=where, hint=hint)
    named = [found for found in candidates if found.recipe == _experiment(checkpoint.meta)]
    chosen = (named or candidates)[0]
    others = [found for found in candidates if found is not chosen]
    if not named and any(found.at_test_time != chosen.at_test_time for found in others):
        names = ", ".join(found.recipe for found in candidates)
        hint = "Say which it is, with --recipe NAME. They differ in how images are prepared or detections selected."
        raise UserError(f"the weights fit several recipes: {names}", where=where, hint=hint)
    if others and not named:
        names = ", ".join(found.recipe for found in others)
        return replace(chosen, origin=f"{chosen.origin}, whose keys it has; at test time the same as {names}")
    return replace(chosen, origin=f"{chosen.origin}, whose keys it has")


def _usual_preprocess(config: DetectorConfig) -> tuple[PreprocessConfig, str]:
    """How images are prepared for such a detector if nothing says it, and where that is from."""
    known = [found for found, _ in _recipes(config.num_classes)]
    same = ModelConfiguration("", config, PreprocessConfig(), "").at_test_time["model"]
    found = {recipe.preprocess for recipe in known if recipe.at_test_time["model"] == same}
    if len(found) == 1:
        return found.pop(), "as in the recipes with this detector"
    if isinstance(config.backbone, ViTConfig) and config.backbone.canvas is not None:
        return PreprocessConfig(canvas=config.backbone.canvas), "the backbone's canvas"
    usual = PreprocessConfig()
    return usual, f"assumed to be as usual, {usual.short_side}x{usual.long_side}"
