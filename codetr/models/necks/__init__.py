"""Necks: from the feature maps of the backbone to those of the transformer."""
