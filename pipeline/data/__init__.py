"""Radiographs on disk: where they come from, what is known of them, and how they are split."""
