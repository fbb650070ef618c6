"""The register step as a pipeline component."""
