"""Weights in files: ours, and adapters for published checkpoints."""
