"""Experiment tracking with Weights & Biases, arranged so that it can never stop a run."""

from codetr.tracking.pictures import Box, BoxedImage
from codetr.tracking.settings import TrackingSettings
from codetr.tracking.tracker import Tracker

__all__ = ["Box", "BoxedImage", "Tracker", "TrackingSettings"]
