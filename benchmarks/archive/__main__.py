"""`python -m benchmarks.archive FOLDER --bundle DIR`: `fracture score` beside `fracture predict` on the same files.

The files of FOLDER are repeated under other names, which makes other ids of them. Each command runs as a person runs
it, in turns: `predict`, `score` on this machine, and `score` on a Ray cluster of two nodes with a CPU each, which runs
on loopback (`make ray-setup`). Start-up is measured on a few files and taken off. Two figures are compared: the
processors' time an image, all processes together and the cluster's own with them, which other work on the machine
hardly changes; and the time that a person waits.
"""

import argparse
import os
import shutil
import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from benchmarks import measure
from benchmarks.archive.spending import Meter, spent
from pipeline.archive import manifest
from pipeline.archive.manifest import Manifest, Sources
from pipeline.errors import exit_with_line
from serving import scoring

_FEW = 16
"""Files of a run that is nearly all start-up."""
TARGETS = {"local": 0.95, "ray": 0.9}
"""Least share of predict's rate per core."""
_CODES = (0, 1)
"""Of a command that did its work: predict ends with 1 where a file has no answer."""


def repeat(files: Sequence[Path], count: int, target: Path) -> Path:
    """A folder of `count` files, which are those of `files` again and again."""
    target.mkdir()
    for number in range(count):
        source = files[number % len(files)]
        name = target / f"{number:07d}{source.suffix}"
        try:
            os.link(source, name)
        except OSError:
            shutil.copyfile(source, name)  # another file system
    return target


Command = Callable[[Path, int], list[str]]


def main() -> None:
    """Read the options and run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--files", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--engines", nargs="+", choices=list(TARGETS), default=list(TARGETS))
    given = parser.parse_args()
    measure.warn_of_load()
    files = [Path(file.path) for file in scoring.find([given.folder]).files]
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        bundle = given.bundle.absolute()
        meter, environment = Meter(()), dict(os.environ)
        commands: dict[str, Command] = {"predict": _predict(bundle)}
        if "local" in given.engines:
            commands["local"] = _score_here(folder, bundle)
        if "ray" in given.engines:
            from tests.pipeline.archive.clusters import cluster  # noqa: PLC0415  it needs pytest

            nodes = stack.enter_context(cluster())
            meter, environment = Meter([nodes.process.pid]), dict(nodes.environment)
            commands["ray"] = lambda images, number: nodes.score(
                _listed(images), folder / f"ray-{number}-{images.name}", bundle
            )
        few, all_files = (repeat(files, count, folder / str(count)) for count in (_FEW, given.files))
        processor: dict[str, list[float]] = {name: [] for name in commands}
        elapsed: dict[str, list[float]] = {name: [] for name in commands}
        for number in range(given.rounds):
            for name, command in commands.items():
                start, whole = (
                    spent(command(images, number), meter, environment, codes=_CODES) for images in (few, all_files)
                )
                processor[name].append((whole.processor - start.processor) / (given.files - _FEW))
                elapsed[name].append((whole.elapsed - start.elapsed) / (given.files - _FEW))
                print(
                    f"{name:<8} {whole.elapsed:7.1f} s, {whole.processor:7.1f} processor seconds; without the start "
                    f"({start.elapsed:.1f} s, {start.processor:.1f}) {1000 * processor[name][-1]:.1f} processor ms and "
                    f"{1000 * elapsed[name][-1]:.1f} ms an image",
                    flush=True,
                )
        for name in given.engines:
            found = measure.ratios(processor["predict"], processor[name])
            waited = statistics.median(measure.ratios(elapsed["predict"], elapsed[name]))
            print(f"{name}: rate per core over that of predict {measure.spread(found)}, "
                  f"{measure.verdict(found, TARGETS[name])}; by the time that passed {waited:.2f}")  # fmt: skip


def _program() -> str:
    return str(Path(sys.executable).parent / "fracture")


def _predict(bundle: Path) -> Command:
    return lambda images, _: [_program(), "predict", str(images), "--jsonl", "--bundle", str(bundle)]


def _listed(images: Path) -> Manifest:
    """The manifest of a folder, made once."""
    listed = images.with_suffix(".parquet")
    if not listed.exists():
        manifest.write(listed, Sources((str(images),)))
    return Manifest(listed)


def _score_here(folder: Path, bundle: Path) -> Command:
    return lambda images, number: [
        _program(), "score", "--manifest", str(_listed(images).path), "--out", str(folder / f"{number}-{images.name}"),
        "--bundle", str(bundle),
    ]  # fmt: skip


if __name__ == "__main__":
    exit_with_line(main)
