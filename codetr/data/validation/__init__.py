"""Checks of annotations: ids, rules of usable objects, findings and their kinds."""
