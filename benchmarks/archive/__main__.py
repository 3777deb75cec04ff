"""`python -m benchmarks.archive FOLDER --bundle DIR`: `fracture score` beside `fracture predict` on the same files.

Each command runs as a person runs it, in turns; start-up is measured on a few files and taken off. What is compared is
the processors' time an image, all processes together: other work on the machine hardly changes it.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import measure
from pipeline.archive import manifest
from pipeline.archive.manifest import Sources
from pipeline.errors import exit_with_line
from serving import scoring

_FEW = 16
"""Files of a run that is nearly all start-up."""
TARGET = 0.95
"""Least share of predict's rate per core."""


@dataclass(frozen=True)
class Spent:
    """What a command took, in seconds."""

    elapsed: float
    processor: float


def spent(command: Sequence[str]) -> Spent:
    """Run a command and wait for it; RuntimeError where it fails."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    elapsed, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode not in {0, 1}:  # predict ends with 1 where a file has no answer
        raise RuntimeError(done.stderr[-500:])
    return Spent(elapsed, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


def main() -> None:
    """Read the options and run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--files", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    measure.warn_of_load()
    program = str(Path(sys.executable).parent / "fracture")
    files = [file.path for file in scoring.find([given.folder]).files][: given.files]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        commands = {"predict": _predict(program, given.bundle), "score": _score(program, given.bundle, folder)}
        figures: dict[str, list[float]] = {name: [] for name in commands}
        for number in range(given.rounds):
            for name, command in commands.items():
                few, all_files = (spent(command(some, number)) for some in (files[:_FEW], files))
                processor = (all_files.processor - few.processor) / (len(files) - _FEW)
                figures[name].append(processor)
                print(
                    f"{name:<8} {all_files.elapsed:7.1f} s, {all_files.processor:7.1f} processor seconds; "
                    f"{1000 * processor:6.1f} ms an image without the start ({few.elapsed:.1f} s)",
                    flush=True,
                )
    found = measure.ratios(figures["predict"], figures["score"])
    print(f"rate per core over that of predict: {measure.spread(found)}, {measure.verdict(found, TARGET)}")


Command = Callable[[Sequence[str], int], list[str]]


def _predict(program: str, bundle: Path) -> Command:
    return lambda files, _: [program, "predict", *files, "--jsonl", "--bundle", str(bundle)]


def _score(program: str, bundle: Path, folder: Path) -> Command:
    def command(files: Sequence[str], number: int) -> list[str]:
        listed = folder / f"{len(files)}.parquet"
        (folder / "list").write_text("\n".join(files))
        manifest.write(listed, Sources((), (folder / "list",), roots=("/",)))
        out = folder / f"{number}-{len(files)}"
        return [
            program, "score", "--manifest", str(listed), "--out", str(out), "--bundle", str(bundle),
        ]  # fmt: skip

    return command


if __name__ == "__main__":
    exit_with_line(main)
