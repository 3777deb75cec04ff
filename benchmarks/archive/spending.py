"""What commands take: the time that passes, and that of the processors, in all processes that have a part in it."""

import resource
import subprocess
import tempfile
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

_TICK = 0.5


class Meter:
    """The processors' time of processes and of all below them, also of those that have ended since it first looked."""

    def __init__(self, roots: Iterable[int]) -> None:
        self._roots = tuple(roots)
        self._seen: dict[psutil.Process, float] = {}

    def look(self) -> float:
        """Seconds until now."""
        for root in self._roots:
            for one in [psutil.Process(root), *psutil.Process(root).children(recursive=True)]:
                try:
                    times = one.cpu_times()
                except psutil.NoSuchProcess:
                    continue
                self._seen[one] = times.user + times.system
        return sum(self._seen.values())


@dataclass(frozen=True)
class Spent:
    """What a command took, in seconds."""

    elapsed: float
    processor: float


def spent(
    command: Sequence[str],
    meter: Meter,
    environment: Mapping[str, str],
    folder: Path | None = None,
    *,
    codes: Collection[int] = (0,),
) -> Spent:
    """Run a command, in `folder` if given, and wait for it; RuntimeError where it ends with none of `codes`."""
    other, before, start = meter.look(), resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(command, env=environment, cwd=folder, stdout=subprocess.DEVNULL, stderr=said)
        while True:
            try:
                code = process.wait(_TICK)
                break
            except subprocess.TimeoutExpired:
                meter.look()
        elapsed, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
        if code not in codes:
            said.seek(0)
            raise RuntimeError(said.read()[-500:])
    own = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Spent(elapsed, own + meter.look() - other)
