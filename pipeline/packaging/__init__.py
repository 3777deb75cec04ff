"""Registered model to bundle, bento, export, release."""
