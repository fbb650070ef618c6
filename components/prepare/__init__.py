"""The prepare step as a pipeline component."""
