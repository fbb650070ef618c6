"""Storage of a registry."""
