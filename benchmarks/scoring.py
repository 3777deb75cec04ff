"""`python -m benchmarks.scoring FOLDER --bundle DIR`: `fracture predict` beside a bare loop of decoding and LiteRT."""

import argparse
import contextlib
import os
import shutil
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as the command does before numpy is imported

import cv2
import typer

from benchmarks import measure
from benchmarks.serving.contestants import accept_everything
from pipeline.cli.predict import predict
from pipeline.errors import exit_with_line
from serving import bundle, scoring
from serving.bundle import Bundle
from serving.imaging.model_input import prepare
from serving.network import SCORES, Network
from serving.scoring import File

TARGET = 0.9


def bare(opened: Bundle, network: Network, files: Sequence[File]) -> list[float]:
    """Read, decode and score every file on all cores, one interpreter a thread, and nothing else."""

    def one(file: File) -> float:
        pixels = prepare(Path(file.path).read_bytes(), opened.preprocessing, opened.heads).pixels
        return float(network(pixels)[SCORES][0, 0])

    with ThreadPoolExecutor(measure.cores()) as pool:
        return list(pool.map(one, files))


def ours(folder: Path, files: Sequence[File]) -> None:
    """The command itself, its answers thrown away."""
    with (
        open(os.devnull, "w", encoding="utf-8") as nothing,  # noqa: PTH123
        contextlib.redirect_stdout(nothing),
        contextlib.redirect_stderr(nothing),
        contextlib.suppress(typer.Exit),
    ):
        predict([file.path for file in files], bundle=folder, jsonl=True)


def main() -> None:
    """Read the options and run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--files", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    measure.warn_of_load()
    print(measure.machine(["numpy", "opencv-python-headless", "ai-edge-litert"]))
    cv2.setNumThreads(0)
    with tempfile.TemporaryDirectory(prefix="fracture-scoring-") as name:
        folder = Path(name) / "bundle"
        shutil.copytree(given.bundle, folder)
        accept_everything(folder)  # a refused image costs no network, in the command alone
        compare(folder, given)


def compare(folder: Path, given: argparse.Namespace) -> None:
    """Let both take turns over the same files and print rates and their ratio."""
    opened = bundle.read(folder)
    files = scoring.find([given.folder]).files[: given.files]
    network = Network(opened.network)
    seconds = measure.take_turns(
        {"bare": lambda: bare(opened, network, files), "ours": lambda: ours(folder, files)}, given.rounds
    )
    for name, values in seconds.items():
        print(f"{name}: {measure.spread([len(files) / value for value in values])} files/s")
    found = measure.ratios(seconds["bare"], seconds["ours"])
    print(
        f"fracture predict / bare loop, {len(files)} files: {measure.spread(found)}  {measure.verdict(found, TARGET)}"
    )


if __name__ == "__main__":
    exit_with_line(main)
