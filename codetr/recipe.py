"""A recipe: everything that decides what a training run computes, apart from the data."""

from __future__ import annotations

from typing import Self

from pydantic import model_validator

from codetr.config import Settings
from codetr.data.config import Augmentation, JitterConfig, LoaderConfig, PreprocessConfig
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
        preprocess: how images are resized and normalised at test time; travels with the weights.
        augment: how training images are varied.
        loader: batch size for each process, and workers.
        training: optimiser, schedule, checkpoints, validation.
    """

    name: str
    description: str
    model: DetectorConfig
    backbone_weights: str | None
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
        jitter = isinstance(self.augment, JitterConfig)
        if jitter and (self.preprocess.canvas is None or self.model.padding_mask):
            raise ValueError(
                "augment.kind 'jitter' trains on canvases that count as image wholly: set preprocess.canvas to the "
                "same side, and model.padding_mask to false"
            )
        return self
