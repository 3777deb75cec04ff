"""`python -m benchmarks.web`: does the page in a browser answer as the service does, and how fast."""

import argparse
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np

from benchmarks import measure
from benchmarks.web import parity
from benchmarks.web.browser import chromium, open_page, served
from pipeline.files import project_root
from pipeline.packaging import web
from serving import bundle
from serving.predictor import Predictor

ROUNDS = 15
GROWTH_AFTER = 20


def main() -> None:
    """Export the page of a bundle, ask it and the service in turns, and print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", type=Path, help="folder of a bundle; by default the one that would be served")
    parser.add_argument("--data", type=Path, default=Path("data/images"), help="folder of radiographs")
    parser.add_argument("--images", type=int, default=300, help="how many of them to compare; 0 for speed alone")
    parser.add_argument("--in-a-row", type=int, default=200, help="how many to answer while memory is watched")
    given = parser.parse_args()
    root = project_root()
    opened = bundle.read(given.bundle or bundle.find_default(root))
    predictor = Predictor(opened)
    print(measure.machine(["ai-edge-litert", "playwright"]))
    measure.warn_of_load()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "page"
        done = web.write_page(opened, web.install_runtime(root / ".cache/web-runtime"), folder)
        print(f"{opened.manifest.name} version {opened.manifest.version}; first visit {done.transferred / 1e6:.1f} MB")
        if given.images:
            _parity(predictor, folder, given.data, given.images)
        _speed(predictor, folder, given.data, given.in_a_row)


def _parity(predictor: Predictor, folder: Path, data: Path, count: int) -> None:
    files = list(parity.radiographs(data, count))
    grey = cv2.imdecode(np.frombuffer(files[0].content, np.uint8), cv2.IMREAD_GRAYSCALE)
    if grey is not None:
        files += parity.changed(np.asarray(grey, np.uint8))
    with served(folder) as address, chromium() as browser:
        device = open_page(browser.new_context(), address)
        print("\n".join(parity.table(list(parity.compare(predictor, device, files)))))


def _speed(predictor: Predictor, folder: Path, data: Path, in_a_row: int) -> None:
    """One core for both: the same images in turns, the first answer after a cold start, memory over many images."""
    files = list(parity.radiographs(data, ROUNDS))
    with measure.on_cores(1), served(folder) as address, chromium() as browser:
        context = browser.new_context()
        open_page(context, address).page.close()  # the first visit, which fetches everything
        began = time.perf_counter()
        device = open_page(context, address)
        device.ask(files[0].content)
        print(f"cold start to the first answer: {time.perf_counter() - began:.1f} s")
        ours, theirs = [], []
        for file in files:
            started = time.perf_counter()
            parity.of_service(predictor, file.content)
            between = time.perf_counter()
            answer = device.ask(file.content).get("answer")
            if answer:
                ours.append(between - started)
                theirs.append(answer["milliseconds"] / 1000)
        quotients = measure.ratios(theirs, ours)
        print(f"device over service, one core: {measure.spread(quotients)}; device {np.median(theirs) * 1000:.0f} ms")
        memory = []
        for index in range(in_a_row):
            device.ask(files[index % len(files)].content)
            if index in {GROWTH_AFTER, in_a_row - 1}:
                memory.append(device.memory() / 2**20)
        print(f"memory after {GROWTH_AFTER} and {in_a_row} images: {' and '.join(f'{mb:.0f} MB' for mb in memory)}")


if __name__ == "__main__":
    main()
