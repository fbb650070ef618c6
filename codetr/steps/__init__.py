"""The four steps: prepare, train, evaluate, register."""
