"""Processes of one run: the process group, torchrun, stop signals."""
