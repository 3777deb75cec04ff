"""`python -m benchmarks.web.number_formats`: what each number format of the weights costs in bytes and in agreement.

The published weights are the reference. Every other format is what the network would be with it; the arithmetic stays
float32, as it is in the browser.
"""

import argparse
import gzip
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks import measure
from benchmarks.web import parity
from pipeline.files import project_root
from pipeline.packaging import web_network
from serving import bundle
from serving.bundle import Bundle
from serving.errors import ImageError
from serving.imaging import model_input
from serving.network import SCORES, Network

_MANTISSAS = (16, 13, 12, 10)


@dataclass(frozen=True)
class Format:
    """A network in a number format: its file, and the bytes that are transferred for it."""

    name: str
    network: bytes
    packed: int


def formats(opened: Bundle) -> Iterator[Format]:
    """The published network, with shorter and shorter mantissas, and with weights in half precision."""
    published = web_network.fixed_batch(opened.content_of(bundle.MODEL))
    yield Format("float32", published, len(gzip.compress(published, 9, mtime=0)))
    yield Format("float32, by planes", published, _by_planes(published))
    for bits in _MANTISSAS:
        content = web_network.rounded(published, bits)
        yield Format(f"float32, {bits} bits of the mantissa, by planes", content, _by_planes(content))
    yield _halves(published)


def _by_planes(content: bytes) -> int:
    return len(gzip.compress(web_network.by_planes(content), 9, mtime=0))


def _halves(published: bytes) -> Format:
    """Weights as float16, each stored in two bytes; the planes of these are packed one after the other."""
    content = bytearray(published)
    planes, rest = b"", bytearray(published)
    for start, count in web_network.weights_of(published):
        weights = np.frombuffer(content, "<f4", count, start)
        halves = weights.astype("<f2")
        weights[:] = halves
        planes += halves.view(np.uint8).reshape(-1, 2).T.tobytes()
        rest[start : start + 4 * count] = bytes(4 * count)
    return Format("float16, by planes", bytes(content), len(gzip.compress(planes + rest, 9, mtime=0)))


def probabilities(network: bytes, images: list[npt.NDArray[np.uint8]], opened: Bundle) -> npt.NDArray[np.float64]:
    """Calibrated probabilities of a fracture."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / bundle.MODEL
        path.write_bytes(network)
        run = Network(path)
        scores = np.concatenate([run(pixels)[SCORES] for pixels in images]).astype(np.float64)
    return np.asarray(opened.decision.fracture_probability(scores), np.float64)


def row(tried: Format, found: npt.NDArray[np.float64], wanted: npt.NDArray[np.float64], opened: Bundle) -> str:
    """A line of the table: bytes, differences of probabilities, and the share of images with the same suspicion."""
    apart = np.abs(found - wanted)
    same = np.mean(
        [opened.decision.suspicion(a) == opened.decision.suspicion(b) for a, b in zip(found, wanted, strict=True)]
    )
    return (
        f"| {tried.name} | {tried.packed / 1e6:.1f} MB | {np.quantile(apart, 0.99):.5f} | {apart.max():.5f} "
        f"| {np.mean(apart <= parity.CLOSE):.1%} | {same:.1%} |"
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", type=Path, help="folder of a bundle; by default the one that would be served")
    parser.add_argument("--data", type=Path, default=Path("data/images"), help="folder of radiographs")
    parser.add_argument("--images", type=int, default=300, help="how many of them to compare")
    given = parser.parse_args()
    opened = bundle.read(given.bundle or bundle.find_default(project_root()))
    print(measure.machine(["ai-edge-litert"]))
    images = []
    for file in parity.radiographs(given.data, given.images):
        try:
            images.append(model_input.prepare(file.content, opened.preprocessing, opened.heads).pixels)
        except ImageError as error:
            print(f"{file.name}: {error.message}")
    print(f"{opened.manifest.name} version {opened.manifest.version}, {len(images)} radiographs")
    print("| weights | transferred | 99 % differ by at most | largest | within 0.01 | same suspicion |")
    print("| --- " * 6 + "|")
    known: dict[bytes, npt.NDArray[np.float64]] = {}
    for tried in formats(opened):
        if tried.network not in known:  # the same network may be packed in several ways
            known[tried.network] = probabilities(tried.network, images, opened)
        print(row(tried, known[tried.network], next(iter(known.values())), opened), flush=True)
    for name, facts in opened.manifest.formats.items():
        print(
            f"as packaged, {name}: {facts['bytes'] / 1e6:.1f} MB before packing, differs by {facts['max_difference']}"
        )


if __name__ == "__main__":
    main()
