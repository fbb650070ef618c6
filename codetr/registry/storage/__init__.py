"""Where a registry is stored."""
