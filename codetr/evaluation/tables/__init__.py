"""Ground truth and predictions as arrays."""
