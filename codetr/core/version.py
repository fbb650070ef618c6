"""The version of codetr, written here only."""

__version__ = "0.1.0"
