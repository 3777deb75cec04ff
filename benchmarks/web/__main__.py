"""`python -m benchmarks.web`: does the page in a browser answer as the service does, and how fast."""

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from benchmarks import measure
from benchmarks.web import parity
from benchmarks.web.browser import Device, chromium, open_page, processor_seconds, served
from benchmarks.web.parity import Compared, File
from pipeline.files import project_root
from pipeline.packaging import web
from serving import bundle
from serving.predictor import Predictor

ROUNDS = 15
COLD_STARTS = 3
GROWTH_AFTER = 20


@dataclass(frozen=True)
class Run:
    """A way to run the network in the browser, as device/network.js names it, and the cores for both contestants."""

    name: str
    title: str
    cores: int = 1
    rounds: int = ROUNDS
    cold_starts: int = COLD_STARTS

    @property
    def webgpu(self) -> bool:
        """Whether it needs an adapter."""
        return self.name == "webgpu"


RUNS = (
    Run("single", "wasm, one thread"),
    Run("compat", "wasm without relaxed vectors, one thread"),
    Run("threads", "wasm, threads", cores=measure.cores()),
    Run("webgpu", "WebGPU, with an adapter that is a program", measure.cores(), rounds=3, cold_starts=1),
)


def main() -> None:
    """Export the page of a bundle, ask it and the service in turns, and print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", type=Path, help="folder of a bundle; by default the one that would be served")
    parser.add_argument("--data", type=Path, default=Path("data/images"), help="folder of radiographs")
    parser.add_argument("--images", type=int, default=300, help="how many of them to compare; 0 for speed alone")
    parser.add_argument("--files", type=Path, nargs="*", default=[], help="folders of further files to compare")
    parser.add_argument("--runs", nargs="*", default=[run.name for run in RUNS], help="which ways to run are timed")
    parser.add_argument("--in-a-row", type=int, default=200, help="how many to answer while memory is watched")
    given = parser.parse_args()
    root = project_root()
    opened = bundle.read(given.bundle or bundle.find_default(root))
    predictor = Predictor(opened)
    print(measure.machine(["ai-edge-litert", "playwright"]))
    measure.warn_of_load()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "page"
        done = web.write_page(opened, web.install_runtime(root / web.RUNTIMES), folder)
        print(f"{opened.manifest.name} version {opened.manifest.version}; first visit {done.transferred / 1e6:.1f} MB")
        print(f"weights as {done.weights}", flush=True)
        if given.images:
            _parity(predictor, folder, _groups(given.data, given.images, given.files))
        for run in RUNS:
            if run.name in given.runs:
                _speed(predictor, folder, list(parity.radiographs(given.data, run.rounds)), run, given.in_a_row)


def _parity(predictor: Predictor, folder: Path, groups: Iterator[list[File]]) -> None:
    """Ask both about all files on one core; the table, row by row, and what the radiographs tell of time and memory."""
    with measure.on_cores(1), served(folder) as address, chromium() as browser:
        device = open_page(browser.new_context(), address, RUNS[0].name)
        print(parity.HEAD, flush=True)
        found: list[Compared] = []
        for files in groups:
            memory = []
            rows = []
            for compared in parity.compare(predictor, device, files):
                rows.append(compared)
                if len(rows) in {GROWTH_AFTER, 10 * GROWTH_AFTER, len(files)}:
                    memory.append(f"{device.memory() / 2**20:.0f} MB after {len(rows)}")
            found += rows
            print("\n".join(parity.rows(rows)), flush=True)
            print(f"  memory: {', '.join(memory)}; device over service: {_ratio(rows)}", flush=True)
        print("\n".join(parity.summary(found)), flush=True)


def _groups(data: Path, count: int, folders: list[Path]) -> Iterator[list[File]]:
    files = list(parity.radiographs(data, count))
    yield files
    yield from (list(parity.of_folder(each)) for each in folders)
    grey = cv2.imdecode(np.frombuffer(files[0].content, np.uint8), cv2.IMREAD_GRAYSCALE)
    if grey is not None:
        yield list(parity.changed(np.asarray(grey, np.uint8)))


def _ratio(found: list[Compared]) -> str:
    """Device over service: time on the clock, and processor time, which other work on the machine changes less."""
    answered = [one for one in found if one.answered]
    if not answered:
        return "nothing answered"
    clock = [one.device["answer"]["milliseconds"] / 1000 / one.service_seconds for one in answered]
    processor = [theirs / ours for ours, theirs in (one.processor for one in answered)]
    return f"{measure.spread(clock)}; in processor time {measure.spread(processor)}"


def _speed(predictor: Predictor, folder: Path, files: list[File], run: Run, in_a_row: int) -> None:
    """The same images in turns on the same cores, the first answer after a cold start, memory over many images."""
    with measure.on_cores(run.cores), served(folder) as address, chromium(webgpu=run.webgpu) as browser:
        print(f"{run.title}, {run.cores} of the cores:")
        context = browser.new_context()
        context.new_page()  # else each start would count a new window, in which Chromium loads pages of its own
        first = open_page(context, address)  # the first visit, which fetches everything
        first.ask(files[0].content)
        first.page.close()
        starts, spent = [], []
        for _ in range(run.cold_starts):
            time.sleep(1)  # the process of the page before ends
            began, before = time.perf_counter(), processor_seconds(context)
            device = open_page(context, address, run.name)
            told = device.ask(files[0].content)
            starts.append(time.perf_counter() - began)
            spent.append(device.processor_seconds() - before)
            if "error" in told:
                print(f"  no answer: {told['error']['message']}")
                return
            device.page.close()
        print(f"  cold start to the first answer: {measure.spread(starts)} s, processor {measure.spread(spent)} s")
        device = open_page(context, address, run.name)
        _turns(predictor, device, files)
        if run.name == "threads":
            _beside(device, open_page(context, address, "single"), files)
        _memory(device, files, in_a_row)


def _turns(predictor: Predictor, device: Device, files: list[File]) -> None:
    device.ask(files[0].content)
    found = [one for one in parity.compare(predictor, device, files) if one.answered]
    print(f"  device over service: {_ratio(found)} on {len(found)} images in turns")
    clock = statistics.median(one.device["answer"]["milliseconds"] for one in found)
    processor = statistics.median(one.processor[1] for one in found)
    print(f"  device: {clock:.0f} ms, {processor * 1000:.0f} ms of processor time (medians)")
    print(f"  largest difference of a probability: {max(one.difference for one in found):.6f}", flush=True)


def _beside(threads: Device, single: Device, files: list[File]) -> None:
    """Threads beside one thread, the same images in turns."""
    seconds: list[list[float]] = [[], []]
    for file in [files[0], *files]:
        told = [device.ask(file.content).get("answer", {}).get("milliseconds") for device in (threads, single)]
        if None not in told:
            for one, found in zip(told, seconds, strict=True):
                found.append(one)
    quotients = measure.ratios(seconds[0][1:], seconds[1][1:])  # the first image warms both up
    print(f"  threads over one thread, on these cores: {measure.spread(quotients)}", flush=True)


def _memory(device: Device, files: list[File], in_a_row: int) -> None:
    found = []
    for index in range(in_a_row):
        device.ask(files[index % len(files)].content)
        if index + 1 in {GROWTH_AFTER, in_a_row}:
            found.append(f"{device.memory() / 2**20:.0f} MB after {index + 1}")
    print(f"  memory: {', '.join(found) or 'not watched'}", flush=True)


if __name__ == "__main__":
    main()
