"""A Keras model of another origin in this project's form, measured and registered like a trained one.

model_file (load in safe mode) -> head (from the answer back to the last map), scale (the range of
its pixels) -> wrapping (one form, same
probabilities) -> registering (evaluate and register)
"""
