"""Weights in files: model folders, official checkpoints, pretrained backbones, fine-tuning."""
