"""Pictures of a dataset: its labels, and what augmentation makes of them."""
