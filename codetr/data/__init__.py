"""Datasets: from annotation files and images to batches."""
