"""A version of a study's result to DICOM objects: report.py (SR), capture.py, presentation.py (GSPS).

Each joins the source's study in a series of its own, is UNVERIFIED and for RESEARCH, and never alters the source.
"""
