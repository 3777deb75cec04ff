"""The bundle's network: a LiteRT file as a function of prepared images, safe to call from any thread."""

import threading
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from ai_edge_litert.interpreter import Interpreter

from serving.imaging.canvas import Pixels

INPUT, SCORES, FEATURES, MAP = "pixels", "scores", "features", "map"
"""Names of the network's input and outputs."""
EMBEDDING = "embedding"
"""A further output, which networks packaged earlier lack: what the heads of `serving.image_heads` read."""

Outputs = dict[str, npt.NDArray[np.float32]]


class Network:
    """One interpreter a thread: it holds the buffers of one call at a time.

    A file is mapped, its pages shared with other processes; content that was read and verified stays in this one.
    """

    def __init__(self, model: Path | bytes) -> None:
        self._model = model
        self._local = threading.local()

    def __call__(self, pixels: Pixels) -> Outputs:
        """Scores (1, columns), features (1, k) and signed map (1, h, w) of one image, uint8 (size, size).

        Networks that have one give an embedding (1, m) as well.
        """
        found = self._runner()(**{INPUT: pixels[np.newaxis, ..., np.newaxis]})
        return {name: np.asarray(value, np.float32) for name, value in found.items()}

    def _runner(self) -> Any:
        runner = getattr(self._local, "runner", None)
        if runner is None:
            # One core a call: a service answers several at once, and small networks gain nothing from more.
            runner = self._local.runner = open_interpreter(self._model).get_signature_runner()
        return runner


def open_interpreter(model: Path | bytes) -> Interpreter:
    """An interpreter of a file, which is mapped, or of its content, on one core."""
    if isinstance(model, Path):
        try:
            str(model).encode()
        except UnicodeEncodeError:  # LiteRT takes no path that is not valid UTF-8
            model = model.read_bytes()
    given = {"model_content": model} if isinstance(model, bytes) else {"model_path": str(model)}
    return Interpreter(**given, num_threads=1)
