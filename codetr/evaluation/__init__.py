"""Predictions over a dataset, metrics, the report."""
