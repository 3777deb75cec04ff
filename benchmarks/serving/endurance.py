"""`python -m benchmarks.serving.endurance`: ten minutes of mixed load, 5 % of it bad; statuses and memory."""

import argparse
import random
import tempfile
import threading
import time
from pathlib import Path

from benchmarks import measure, pictures
from benchmarks.serving import contestants, load
from benchmarks.serving.contestants import Server
from pipeline.errors import exit_with_line

BAD_SHARE = 0.05
CLIENTS = 16
FIRST_MINUTE = 60.0


def bad_inputs(count: int, images: list[bytes]) -> dict[str, bytes]:
    """Inputs that must be refused: empty, text, cut off in the header, an address, a picture of noise in colour."""
    rng = random.Random(7)  # noqa: S311  no secret
    kinds = [
        b"", b"this is no picture", images[0][:20], b"http://127.0.0.1/x.jpg", rng.randbytes(5000),
        b"\x89PNG\r\n\x1a\n" + rng.randbytes(300),
    ]  # fmt: skip
    return {f"bad-{number:03d}": kinds[number % len(kinds)] for number in range(count)}


def watch(server: Server, seconds: float, found: list[tuple[float, float]]) -> None:
    """Append (seconds, megabytes of all workers) every second."""
    began = time.monotonic()
    while (now := time.monotonic() - began) < seconds:
        found.append((now, sum(worker.memory_info().rss for worker in server.workers()) / 1e6))
        time.sleep(1)


def main() -> None:
    """Read the options and run."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving.endurance", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--workers", type=int, default=measure.cores())
    options = parser.parse_args()
    print(measure.machine(["ai-edge-litert", "bentoml"]))
    with tempfile.TemporaryDirectory(prefix="fracture-endurance-") as name:
        folder = Path(name)
        data = pictures.radiographs(folder / "data")
        contest = contestants.prepare("cnn", 224, data, folder)
        labels = contestants.our_labels(contest)
        bad = bad_inputs(max(1, round(len(labels) * BAD_SHARE / (1 - BAD_SHARE))), list(contest.images.values()))
        mixed = list({**contest.images, **bad}.items())
        random.Random(7).shuffle(mixed)  # noqa: S311  no secret
        load.write_inputs(folder / "inputs", dict(mixed), {**labels, **dict.fromkeys(bad, load.BAD)})
        with contestants.ours(contest.bundle, options.workers, 1) as server:
            memory: list[tuple[float, float]] = []
            watcher = threading.Thread(target=watch, args=(server, options.seconds, memory))
            watcher.start()
            met = load.run(server.url, folder / "inputs", CLIENTS, options.seconds)
            watcher.join()
    early = [megabytes for at, megabytes in memory if at >= FIRST_MINUTE][:5] or [memory[-1][1]]
    late = [megabytes for _, megabytes in memory[-5:]]
    growth = sum(late) / len(late) / (sum(early) / len(early)) - 1
    print(
        f"{met.seconds:.0f} s, {CLIENTS} clients, {options.workers} workers: p50 {met.p50:.1f} ms, p99 {met.p99:.1f} ms"
    )
    print(f"right answers: {met.right}; refused as they should be: {met.bad}; deliberate 503: {met.busy}")
    print(f"wrong labels: {met.wrong}; any other status: {met.other}; broken connections: {met.errors}")
    print(f"memory of the workers: {early[0]:.0f} MB after a minute, {late[-1]:.0f} MB at the end ({growth:+.1%})")


if __name__ == "__main__":
    exit_with_line(main)
