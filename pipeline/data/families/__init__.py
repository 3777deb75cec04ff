"""Families: images that show the same exposure, however it was turned, mirrored, cropped or written again.

features    SIFT keypoints of a small picture
candidates  pairs of images that share visual words, turned by one angle
alignment   a transform found by RANSAC, after which the two pictures must correlate
search      all of it over a folder
thumbnails  an index of thumbnails in their eight forms
large       families of a folder that is too large for keypoints of every image, by that index
sheets      what a reader sees of it
"""
