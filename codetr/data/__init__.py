"""Annotations and images on their way to a batch."""
