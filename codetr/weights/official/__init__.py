"""Read and write the official code's checkpoints and configurations."""
