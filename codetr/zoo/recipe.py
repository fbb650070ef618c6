"""A recipe: everything that determines a training run, apart from the data."""

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
        name: name in `codetr zoo`; changed settings do not change it.
        description: one line of text.
        model: the detector's architecture, losses and test-time settings.
        backbone_weights: initial weights of the backbone: a file of pretrained weights, or the name of weights to
            download, e.g. "IMAGENET1K_V1" (see `load_backbone`); None for random weights.
        init_from: initial weights of the whole detector, which replace those of the backbone: a model folder, a
            weights file of one, or official weights. Classes that the dataset has too, by name, keep their weights;
            the others start with random ones.
        preprocess: resizing and normalisation of images; stored with the weights.
        augment: augmentation of training images.
        loader: batch size for each process, workers, sampling.
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
                f"training.schedule.milestones {late} are not before the last epoch ({self.training.epochs}), so the "
                "learning rate would never drop; [-1] is one epoch before the end, [] is never"
            )
        return self

    @model_validator(mode="after")
    def _canvas_is_consistent(self) -> Self:
        if isinstance(self.augment, JitterConfig) and self.model.padding_mask:
            raise ValueError(
                "with augment.kind 'jitter' the whole canvas is the valid area: set model.padding_mask to false"
            )
        sides = {"preprocess.canvas": self.preprocess.canvas}
        if isinstance(self.augment, JitterConfig):
            sides["augment.canvas"] = self.augment.canvas
        if isinstance(self.model.backbone, ViTConfig) and self.model.backbone.canvas is not None:
            sides["model.backbone.canvas"] = self.model.backbone.canvas
        if len(set(sides.values())) > 1:
            shown = ", ".join(f"{name} is {side}" for name, side in sides.items())
            raise ValueError(f"{shown}: a model is trained and tested on one canvas, so they must be equal")
        return self
