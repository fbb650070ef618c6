"""Start training on a cluster, watch it, resume it and clean up after it, whatever runs the cluster."""
