"""Foundations without PyTorch: errors, settings, files, manifests."""
