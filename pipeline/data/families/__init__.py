"""Families: images that show the same exposure, however it was turned, mirrored, cropped or written again.

    pixels -> features (SIFT keypoints of a small picture)
           -> candidates (pairs that share visual words, with turns that agree)
           -> alignment (a similarity transform found by RANSAC; the aligned pictures must correlate)
"""
