"""Necks, which map the feature maps of a backbone to those of the encoder."""
