"""What `prepare` does: read sources, check images and annotations, merge, draw splits, write the index."""
