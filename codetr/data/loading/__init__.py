"""From a split to batches: loader, worker processes, samplers, collation."""
