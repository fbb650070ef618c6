"""Kernels behind one function each."""
