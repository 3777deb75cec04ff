"""One random stream for each aspect of a picture, so that none shifts another."""

import numpy as np

Rng = np.random.Generator
STREAMS = ("anatomy", "pose", "exposure", "noise", "fracture")


def random_stream(seed: int, name: str) -> Rng:
    """The random stream of one aspect of a picture; its key is fixed so that no other aspect shifts it."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, STREAMS.index(name)])))
