"""Timing that a noisy machine cannot fool much: contestants take turns, and only ratios within a turn count."""

import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

QUIET = 0.7


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0))


def machine(packages: Sequence[str]) -> str:
    """One line on what the figures were measured with: processor, cores, load, versions."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line for line in lines if line.startswith("model name")]
    processor = names[0].partition(":")[2].strip() if names else platform.processor()
    versions = ", ".join(f"{package} {version(package)}" for package in packages)
    return (
        f"{processor}, {cores()} cores, load {os.getloadavg()[0]:.2f}, Python {platform.python_version()}, {versions}"
    )


def warn_of_load() -> None:
    """Say so when other work runs on this machine."""
    load = os.getloadavg()[0]
    if load > QUIET:
        print(f"note: the machine is not quiet (load {load:.2f}); trust ratios more than times")


@contextmanager
def on_cores(count: int) -> Iterator[None]:
    """Run the block, and the threads it starts, on the first `count` of this process's cores."""
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(allowed)[:count])
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)


def take_turns(contestants: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each contestant in each round, after a round that does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for number in range(rounds + 1):
        for name, run in contestants.items():
            began = time.perf_counter()
            run()
            if number:
                seconds[name].append(time.perf_counter() - began)
    return seconds


def ratios(over: Sequence[float], under: Sequence[float]) -> list[float]:
    """Quotients of two contestants' times within each round."""
    return [one / other for one, other in zip(over, under, strict=True)]


def spread(values: Sequence[float]) -> str:
    """Median, smallest and largest value as text."""
    return f"{statistics.median(values):5.2f} ({min(values):.2f}-{max(values):.2f})"


def verdict(values: Sequence[float], target: float, at_least: bool = True) -> str:
    """Whether the median meets a target, and by how much it misses."""
    found = statistics.median(values)
    met = found >= target if at_least else found <= target
    sign = ">=" if at_least else "<="
    return f"{sign} {target}: " + ("met" if met else f"missed by {abs(found - target):.2f}")
