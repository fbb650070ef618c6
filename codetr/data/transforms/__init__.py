"""Preprocessing and augmentation of samples."""
