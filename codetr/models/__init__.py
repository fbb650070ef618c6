"""The detector: backbones, neck, transformer and heads."""
