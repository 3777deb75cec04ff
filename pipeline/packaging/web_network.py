"""A bundle's network as a browser takes it: a batch of one, and weights that pack well.

The graph and its arithmetic stay float32. The weights lose the last bits of their mantissas, as many as the answers
allow, and the file is packed by planes of bytes: the zeros, the exponents and the rest each beside their like.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import numpy.typing as npt

from serving.bundle import MODEL, Bundle
from serving.imaging import model_input
from serving.network import SCORES, Network

MANTISSAS = (13, 16)
"""Bits of a mantissa, of 23, that are tried in this order; the first that answers closely enough is taken."""
CLOSE = 0.005
"""What a probability may differ by on the bundle's samples, half of what is asked of the page."""
_MANTISSA = 23
_LEAST = 1024
"""Numbers of the smallest tensor that is rounded: smaller ones, such as biases, save nothing."""


@dataclass(frozen=True)
class Weights:
    """The number format in which a network is written, and what it changes.

    `max_difference` is the largest one of a probability on `images` pictures: the samples, plain and mirrored.
    """

    mantissa_bits: int
    max_difference: float
    images: int

    @property
    def words(self) -> str:
        """For a person."""
        if self.mantissa_bits == _MANTISSA:
            return "float32, as published"
        return (
            f"float32 with {self.mantissa_bits} of {_MANTISSA} bits of the mantissa; a probability differs by at most "
            f"{self.max_difference:.2g} from that of the published weights, on {self.images} pictures"
        )


def for_browser(opened: Bundle) -> tuple[bytes, Weights]:
    """The network's file with a batch of one and the shortest mantissas that answer closely enough."""
    published = fixed_batch(opened.content_of(MODEL))
    images = _pictures(opened)
    if not images:
        return published, Weights(_MANTISSA, 0.0, 0)
    with TemporaryDirectory(prefix="fracture-web-") as name:
        wanted = _probabilities(published, images, opened, Path(name) / "published.tflite")
        for bits in MANTISSAS:
            content = rounded(published, bits)
            found = _probabilities(content, images, opened, Path(name) / f"{bits}.tflite")
            difference = float(np.abs(found - wanted).max())
            if difference <= CLOSE:
                return content, Weights(bits, difference, len(images))
    return published, Weights(_MANTISSA, 0.0, len(images))


def _pictures(opened: Bundle) -> list[npt.NDArray[np.uint8]]:
    """The network's inputs of the bundle's samples, plain and mirrored."""
    contents = [(opened.folder / name).read_bytes() for name in opened.manifest.samples]
    plain = [model_input.prepare(content, opened.preprocessing, opened.heads).pixels for content in contents]
    return [np.ascontiguousarray(side) for pixels in plain for side in (pixels, pixels[:, ::-1])]


def _probabilities(
    network: bytes, images: list[npt.NDArray[np.uint8]], opened: Bundle, path: Path
) -> npt.NDArray[np.float64]:
    path.write_bytes(network)
    run = Network(path)
    scores = np.concatenate([run(pixels)[SCORES] for pixels in images]).astype(np.float64)
    return np.asarray(opened.decision.fracture_probability(scores), np.float64)


def by_planes(content: bytes) -> bytes:
    """The first bytes of every four, then the second ones, and so on; what is left of the last four at the end.

    `joined` of the page's service worker is the inverse.
    """
    whole = len(content) & ~3
    return np.frombuffer(content, np.uint8, whole).reshape(-1, 4).T.tobytes() + content[whole:]


def rounded(network: bytes, bits: int) -> bytes:
    """A LiteRT file whose float32 weights keep `bits` bits of their mantissas, rounded to the nearest, ties to even."""
    content = bytearray(network)
    for offset, count in weights_of(network):
        weights = np.frombuffer(content, "<u4", count, offset)  # of a bytearray: written in place
        weights[:] = _shortened(weights, _MANTISSA - bits)
    return bytes(content)


def weights_of(network: bytes) -> list[tuple[int, int]]:
    """Offset and number of the float32 values of each buffer of a LiteRT file that is worth rounding."""
    return list(_Tables(bytearray(network)).weights())


def _shortened(weights: npt.NDArray[np.uint32], drop: int) -> npt.NDArray[np.uint32]:
    if drop == 0:
        return weights
    odd = weights >> np.uint32(drop) & np.uint32(1)
    found = (weights + np.uint32((1 << (drop - 1)) - 1) + odd) & np.uint32(~((1 << drop) - 1) & 0xFFFFFFFF)
    infinite = np.uint32(0x7F800000)
    return np.where((found & infinite) == infinite, weights, found)


def fixed_batch(network: bytes) -> bytes:
    """A LiteRT file whose tensors have no shape signatures, so that each shape is taken as it is: a batch of 1.

    LiteRT.js refuses a dimension of -1. The field is taken out of the tables' layouts, which leaves every other byte
    where it was.
    """
    content = bytearray(network)
    tables = _Tables(content)
    for tensor in tables.tensors():
        at = tables.slot(tensor, _TENSOR_SHAPE_SIGNATURE)
        if at:
            struct.pack_into("<H", content, at, 0)
    return bytes(content)


_MODEL_SUBGRAPHS, _MODEL_BUFFERS = 2, 4
_SUBGRAPH_TENSORS = 0
_TENSOR_TYPE, _TENSOR_BUFFER, _TENSOR_SHAPE_SIGNATURE = 1, 2, 7
_BUFFER_DATA = 0
_FLOAT32 = 0
"""The numbers of fields and types are those of TensorFlow Lite's schema."""


class _Tables:
    """The tables of a LiteRT file (FlatBuffers, vtables) by their offsets in `content`."""

    def __init__(self, content: bytearray) -> None:
        self._content = content

    def tensors(self) -> Iterator[int]:
        """The tensors of all subgraphs."""
        for subgraph in self._tables(self._root, _MODEL_SUBGRAPHS):
            yield from self._tables(subgraph, _SUBGRAPH_TENSORS)

    def weights(self) -> Iterator[tuple[int, int]]:
        """Offset and number of the float32 values of each buffer that is large enough to be worth rounding."""
        buffers = list(self._tables(self._root, _MODEL_BUFFERS))
        seen = {self._value("I", tensor, _TENSOR_BUFFER) for tensor in self.tensors() if self._is_float(tensor)}
        for index in sorted(seen):
            start, length = self._vector(buffers[index], _BUFFER_DATA)
            if length // 4 >= _LEAST:
                yield start, length // 4

    def slot(self, table: int, field: int) -> int:
        """Where the layout of a table holds the place of a field; 0 where it has none."""
        layout = table - self._number("i", table)
        return layout + 4 + 2 * field if 4 + 2 * field < self._number("H", layout) else 0

    @property
    def _root(self) -> int:
        return self._number("I", 0)

    def _is_float(self, tensor: int) -> bool:
        return self._value("b", tensor, _TENSOR_TYPE) == _FLOAT32

    def _number(self, kind: str, at: int) -> int:
        return int(struct.unpack_from(f"<{kind}", self._content, at)[0])

    def _place(self, table: int, field: int) -> int:
        at = self.slot(table, field)
        offset = self._number("H", at) if at else 0
        return table + offset if offset else 0

    def _value(self, kind: str, table: int, field: int) -> int:
        """A number of a table, 0 where it is left out."""
        place = self._place(table, field)
        return self._number(kind, place) if place else 0

    def _vector(self, table: int, field: int) -> tuple[int, int]:
        """Where the items of a vector begin, and how many there are."""
        place = self._place(table, field)
        if not place:
            return 0, 0
        start = place + self._number("I", place)
        return start + 4, self._number("I", start)

    def _tables(self, table: int, field: int) -> Iterator[int]:
        start, many = self._vector(table, field)
        for index in range(many):
            item = start + 4 * index
            yield item + self._number("I", item)
