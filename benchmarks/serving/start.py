"""Seconds from `fracture serve` to ready, of one or more checkouts in turns, with compiled bytecode and without.

    python -m benchmarks.serving.start [CHECKOUT ...] [--turns 5] [--workers 2]

Checkouts run with the environment of this one. Without bytecode is how a start goes the first time, and each time where
Python may not write into the environment: PYTHONPYCACHEPREFIX points to an empty folder then.
"""

import argparse
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.measure import machine, warn_of_load
from pipeline.training.trained import newest_release

_COMMAND = "from pipeline.cli import main; main()"


def seconds(checkout: Path, workers: int, port: int, bytecode: bool) -> float:
    """Wall-clock seconds until the command prints that the service is ready."""
    bundle = newest_release(checkout).parent / "bundle"
    with tempfile.TemporaryDirectory() as empty:
        environ = {name: value for name, value in os.environ.items() if name != "PYTHONPYCACHEPREFIX"}
        environ |= {"PYTHONPATH": str(checkout), "PYTHONDONTWRITEBYTECODE": "1", "PYTHONUNBUFFERED": "1"}
        if not bytecode:
            environ["PYTHONPYCACHEPREFIX"] = empty
        options = ["serve", "--port", str(port), "--workers", str(workers), "--bundle", str(bundle)]
        start = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, "-c", _COMMAND, *options],
            cwd=checkout,
            env=environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        for line in process.stdout or ():
            if line.startswith("ready:"):
                break
        taken = time.perf_counter() - start
        process.send_signal(signal.SIGINT)
        process.communicate()
    return taken


def main() -> None:
    """Print a table of medians, smallest and largest."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkouts", nargs="*", type=Path, default=[Path.cwd()])
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--port", type=int, default=3790)
    options = parser.parse_args()
    contestants = [(path.resolve(), bytecode) for path in options.checkouts for bytecode in (True, False)]
    taken: dict[tuple[Path, bool], list[float]] = {contestant: [] for contestant in contestants}
    print(machine(["bentoml", "uvicorn"]))
    warn_of_load()
    for _ in range(options.turns):
        for path, bytecode in contestants:
            taken[path, bytecode].append(seconds(path, options.workers, options.port, bytecode))
    for (path, bytecode), found in taken.items():
        how = "compiled" if bytecode else "without bytecode"
        print(f"{path}, {how}: {statistics.median(found):.2f} s ({min(found):.2f}-{max(found):.2f})")


if __name__ == "__main__":
    main()
