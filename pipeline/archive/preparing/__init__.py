"""Validate and preprocess by several processes, here or on a Ray cluster; the images lie where a manifest says."""
