"""Backbones, which map images to feature maps."""
