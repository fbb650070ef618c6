"""The instance head of the published ViT models: masks, their refinement and their predicted IoU."""
