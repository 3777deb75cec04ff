"""Metrics with intervals, subgroups, saliency, plots and tables."""
