"""Scoring an archive: a manifest of what is there, and answers as Parquet, on this machine or on a Ray cluster."""
