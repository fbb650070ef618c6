"""The instance head of the published ViT models: masks, their quality, their refinement."""
