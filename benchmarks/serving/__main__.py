"""`python -m benchmarks.serving`: latency and throughput beside Flask + Keras and a bare loop, in the same run."""

import argparse
import statistics
import tempfile
from pathlib import Path

from benchmarks import measure, pictures
from benchmarks.serving import contestants, load
from benchmarks.serving.contestants import Contest
from benchmarks.serving.load import Load
from pipeline.errors import exit_with_line

CONTESTS = (("cnn", 224), ("mobilenet", 224), ("mobilenet", 320), ("mobilenet", 416))
CLIENTS = 16
ROUNDS = 3


def compete(contest: Contest, folder: Path, seconds: float, workers: int) -> None:
    """Let ours, the peer and the bare loop take turns and print figures and ratios."""
    inputs = {name: folder / f"{contest.name}-{contest.size}-{name}" for name in ("ours", "flask")}
    load.write_inputs(inputs["ours"], contest.images, contestants.our_labels(contest))
    load.write_inputs(inputs["flask"], contest.images, contestants.peer_labels(contest))
    one: dict[str, list[Load]] = {"ours": [], "flask": []}
    many: dict[str, list[Load]] = {"ours": [], "flask": []}
    bare: list[float] = []
    with (
        contestants.ours(contest.bundle, workers, 1) as our_server,
        contestants.flask(contest, workers) as peer_server,
    ):
        servers = {"ours": our_server, "flask": peer_server}
        for name, server in servers.items():
            load.run(server.url, inputs[name], CLIENTS, 2)  # each worker meets its first image
        for _ in range(ROUNDS):
            for name, server in servers.items():
                one[name].append(load.run(server.url, inputs[name], 1, seconds))
                many[name].append(load.run(server.url, inputs[name], CLIENTS, seconds))
            bare.append(contestants.bare_rate(contest, measure.cores(), seconds))
        memory = max(worker.memory_info().rss for worker in our_server.workers()) / 1e6
        print(f"ready: ours {our_server.ready_seconds:.1f} s, Flask + Keras {peer_server.ready_seconds:.1f} s")
    print(f"largest worker of ours: {memory:.0f} MB resident")
    for name in servers:
        print(f"{name}, one client: p50 {_spread([found.p50 for found in one[name]])} ms")
        rates = _spread([found.rate for found in many[name]])
        tails = _spread([found.p99 / found.p50 for found in many[name]])
        print(f"{name}, {CLIENTS} clients: {rates} right answers/s, p99/p50 {tails}")
        unclean = [found for found in (*one[name], *many[name]) if not found.clean or found.busy]
        if unclean:
            print(f"  not every answer was right: {unclean}")
    print(f"bare loop on {measure.cores()} cores: {_spread(bare)} images/s")
    first = 8 if contest.size == 224 else None
    latency = measure.ratios([f.p50 for f in one["flask"]], [f.p50 for f in one["ours"]])
    rate = measure.ratios([f.rate for f in many["ours"]], [f.rate for f in many["flask"]])
    print(f"latency, Flask + Keras / ours: {_against(latency, first)}")
    print(f"throughput, ours / Flask + Keras: {_against(rate, first)}")
    limit = measure.ratios([found.rate for found in many["ours"]], bare)
    print(f"throughput, ours / bare loop: {_against(limit, 0.6)}")
    tail = [found.p99 / found.p50 for found in many["ours"]]
    print(f"p99 / p50 with {CLIENTS} clients: {_spread(tail)}  {measure.verdict(tail, 4, at_least=False)}")


def table(contest: Contest, folder: Path, seconds: float) -> None:
    """Throughput, latency and memory by workers and threads, and what batches would gain."""
    inputs = folder / f"table-{contest.name}-{contest.size}"
    load.write_inputs(inputs, contest.images, contestants.our_labels(contest))
    print("| workers | threads each | answers/s | p50, ms | p99, ms | one client p50, ms | MB in all |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for workers in (1, 2, 4):
        for threads in (1, 2):
            with contestants.ours(contest.bundle, workers, threads) as server:
                load.run(server.url, inputs, CLIENTS, 2)
                runs = [load.run(server.url, inputs, CLIENTS, seconds) for _ in range(ROUNDS)]
                single = [load.run(server.url, inputs, 1, seconds) for _ in range(ROUNDS)]
                memory = sum(worker.memory_info().rss for worker in server.workers()) / 1e6
            cells = [
                f"{statistics.median(values):.1f}"
                for values in (
                    [run.rate for run in runs], [run.p50 for run in runs], [run.p99 for run in runs],
                    [run.p50 for run in single],
                )
            ]  # fmt: skip
            print(f"| {workers} | {threads} | {' | '.join(cells)} | {memory:.0f} |")
    for size, milliseconds in contestants.batches(contest):
        print(f"batch of {size}: {milliseconds:.2f} ms an image on one core")


def _spread(values: list[float]) -> str:
    return measure.spread(values).strip()


def _against(values: list[float], target: float | None) -> str:
    return _spread(values) + (f"  {measure.verdict(values, target)}" if target else "")


def main() -> None:
    """Read the options and run."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving", description=__doc__)
    parser.add_argument("--only", choices=[f"{name}-{size}" for name, size in CONTESTS], action="append")
    parser.add_argument("--seconds", type=float, default=6.0, help="of each turn of each contestant")
    parser.add_argument("--workers", type=int, default=measure.cores())
    parser.add_argument("--table", action="store_true", help="by workers and threads instead")
    options = parser.parse_args()
    print(measure.machine(["ai-edge-litert", "bentoml", "tensorflow", "keras", "flask", "gunicorn"]))
    measure.warn_of_load()
    print(f"{options.workers} workers of each server; wrk on one thread shares the cores with them")
    with tempfile.TemporaryDirectory(prefix="fracture-serving-") as name:
        folder = Path(name)
        data = pictures.radiographs(folder / "data")
        for network, size in CONTESTS:
            if options.only and f"{network}-{size}" not in options.only:
                continue
            contest = contestants.prepare(network, size, data, folder)
            facts = bundle_facts(contest)
            print(f"\n{network} at {size} px, {facts}; {len(contest.images)} files of {data.info.title()}")
            if options.table:
                table(contest, folder, options.seconds)
            else:
                compete(contest, folder, options.seconds, options.workers)


def bundle_facts(contest: Contest) -> str:
    """The number format of the weights, and the time of the network alone."""
    from serving import bundle  # noqa: PLC0415

    manifest = bundle.read_manifest(contest.bundle)
    return f"weights as {manifest.number_format}, {manifest.formats[manifest.number_format]['milliseconds']} ms alone"


if __name__ == "__main__":
    exit_with_line(main)
