"""Pretrained weights of backbones: from files, torchvision, timm and the authors' downloads."""
