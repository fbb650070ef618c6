"""The prepared dataset: its index, its splits, its classes."""
