"""Frames of videos, of cameras and of network streams."""
