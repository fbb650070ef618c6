"""Run a model over a split and collect the predictions of all ranks."""
