"""The query heads and the auxiliary heads."""
