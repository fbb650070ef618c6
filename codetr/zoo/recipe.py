"""A recipe: everything that decides what a training run computes, apart from the data."""

from __future__ import annotations

from typing import Self

from pydantic import model_validator

from codetr.core.settings import Settings
from codetr.data.config import Augmentation, JitterConfig, LoaderConfig, PreprocessConfig
from codetr.models.backbones.config import ViTConfig
from codetr.models.config import DetectorConfig
from codetr.training.config import TrainingConfig


class Recipe(Settings):
    """A detector and how to train it. The number of classes is taken from the dataset.

    Attributes:
        name: as in `codetr zoo`; changed settings do not change it.
        description: one line for people.
        model: the detector's architecture, losses and test-time settings.
        backbone_weights: what the backbone starts from: a file of pretrained weights, or the name of weights to
            download, e.g. "IMAGENET1K_V1" (see `load_backbone`); None to start from random weights.
        init_from: what the whole detector starts from, instead of that: a model folder, or a file of official or our
            own weights. Classes that the dataset has too, by name, are kept; the others start at random.
        preprocess: how images are resized and normalised at test time; travels with the weights.
        augment: how training images are varied.
        loader: batch size for each process, and workers.
        training: optimiser, schedule, checkpoints, validation.
    """

    name: str
    description: str
    model: DetectorConfig
    backbone_weights: str | None
    init_from: str | None = None
    preprocess: PreprocessConfig
    augment: Augmentation
    loader: LoaderConfig
    training: TrainingConfig

    @model_validator(mode="after")
    def _schedule_ends_within_training(self) -> Self:
        late = [epoch for epoch in self.training.schedule.milestones if epoch >= self.training.epochs]
        if late:
            raise ValueError(
                f"training.schedule.milestones {late} lie at or after the last epoch ({self.training.epochs}): "
                "the learning rate would never drop; [-1] is one epoch before the end, [] never"
            )
        return self

    @model_validator(mode="after")
    def _a_canvas_is_one_throughout(self) -> Self:
        if isinstance(self.augment, JitterConfig) and self.model.padding_mask:
            raise ValueError("with augment.kind 'jitter' the canvas counts as image: set model.padding_mask to false")
        sides = {"preprocess.canvas": self.preprocess.canvas}
        if isinstance(self.augment, JitterConfig):
            sides["augment.canvas"] = self.augment.canvas
        if isinstance(self.model.backbone, ViTConfig) and self.model.backbone.canvas is not None:
            sides["model.backbone.canvas"] = self.model.backbone.canvas
        if len(set(sides.values())) > 1:
            shown = ", ".join(f"{name} is {side}" for name, side in sides.items())
            raise ValueError(f"{shown}: a model is trained and tested on one canvas, so they must be equal")
        return self
