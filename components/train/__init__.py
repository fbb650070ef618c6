"""The train step as a pipeline component."""
