"""Query heads (Co-Deformable-DETR, Co-DINO): denoising and positive queries, losses, postprocessing."""
