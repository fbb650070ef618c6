"""Using a detector: models by name, predictions on images and videos of any kind, and wrappers that see more views."""
