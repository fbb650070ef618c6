"""Experiment tracking with Weights & Biases that can never stop a run."""

from codetr.tracking.boxed_images import BoxedImage, TrackedBox
from codetr.tracking.settings import TrackingSettings
from codetr.tracking.tracker import Tracker

__all__ = ["BoxedImage", "TrackedBox", "Tracker", "TrackingSettings"]
