"""The deformable encoder and decoder, their layers, and what selects and reads out queries."""
