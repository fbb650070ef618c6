"""Checkpoints and configurations of the official implementation: reading, writing, conversion."""
