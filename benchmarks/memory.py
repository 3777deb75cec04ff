"""Memory of the stages validate and preprocess over many images (`python -m benchmarks.memory`)."""

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from benchmarks import measure, pictures
from pipeline.files import project_root

COUNTS = (5_000, 20_000)
TARGET_MB = 1_500
_EVERY = 0.1


def resident(process: psutil.Process) -> float:
    """Resident memory in MB of a process and its children; 0 when it has ended."""
    try:
        members = [process, *process.children(recursive=True)]
        return sum(member.memory_info().rss for member in members) / 1e6
    except psutil.NoSuchProcess:
        return 0.0


def watch(stage: str, root: Path) -> tuple[float, list[float]]:
    """Run a stage in `root`; its seconds and its resident memory in MB, ten times a second."""
    environment = {**os.environ, "PYTHONPATH": str(project_root()), "GX_ANALYTICS_ENABLED": "false"}
    began = time.perf_counter()
    with (root / f"{stage}.log").open("w") as log:
        command = [sys.executable, "-m", f"pipeline.{stage}"]
        process = subprocess.Popen(command, cwd=root, env=environment, stdout=log, stderr=subprocess.STDOUT)
        samples = []
        while process.poll() is None:
            samples.append(resident(psutil.Process(process.pid)))
            time.sleep(_EVERY)
    if process.returncode:
        raise RuntimeError((root / f"{stage}.log").read_text()[-2000:])
    return time.perf_counter() - began, [sample for sample in samples if sample]


def growth(samples: list[float]) -> float:
    """MB by which the last tenth of the run, at its median, lies above the time around a quarter of it."""
    count = len(samples)
    quarter = samples[int(0.2 * count) : int(0.3 * count) + 1]
    return statistics.median(samples[int(0.9 * count) :]) - statistics.median(quarter)


def main() -> None:
    """Generate images in a temporary project and print how much memory the two stages take over them."""
    print(measure.machine(["opencv-python-headless", "great-expectations", "numpy", "pandas"]))
    checkout = project_root()
    for count in COUNTS:
        with tempfile.TemporaryDirectory() as name:
            root = Path(name)
            for file in ("params.yaml", "dvc.yaml"):
                shutil.copy(checkout / file, root / file)
            pictures.generated(root / "data", count)
            for stage in ("validate", "preprocess"):
                seconds, samples = watch(stage, root)
                peak = max(samples)
                target = f"< {TARGET_MB} MB: " + ("met" if peak < TARGET_MB else f"missed by {peak - TARGET_MB:.0f} MB")
                print(
                    f"{count} images, {stage}: {seconds:.0f} s, peak {peak:.0f} MB ({target}), "
                    f"{growth(samples):+.0f} MB from 25 % to the end of the run"
                )


if __name__ == "__main__":
    main()
