"""Co-DETR, the collaborative-hybrid-assignment detector, and the steps that keep it trained."""

__version__ = "0.1.0"
