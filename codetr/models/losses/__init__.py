"""Losses, one per file, and their divisors."""
