"""Layers that several parts of the detector share."""
