"""Assigners: which anchor or proposal is responsible for which object."""
