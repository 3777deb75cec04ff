"""Drawn radiographs with and without fractures."""
