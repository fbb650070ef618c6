"""The evaluate step as a pipeline component."""
