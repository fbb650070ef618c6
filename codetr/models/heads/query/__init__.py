"""Query heads (Co-Deformable-DETR, Co-DINO), their denoising and positive queries, losses and postprocessing."""
