"""Load batches of a split: loader, worker processes, samplers, collation."""
