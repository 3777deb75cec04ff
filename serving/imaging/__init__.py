"""Bytes to the network's input: decoders, and the geometry of the canvas."""
