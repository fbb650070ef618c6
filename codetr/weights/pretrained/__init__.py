"""Backbone weights from torchvision, timm and the published files."""
