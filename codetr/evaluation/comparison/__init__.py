"""Compare two evaluations with confidence intervals (paired bootstrap)."""
