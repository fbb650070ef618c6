"""Encoder, decoder and what they attend with."""
