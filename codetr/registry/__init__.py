"""Versions, aliases and the promotion gate."""
