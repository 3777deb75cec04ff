"""`python -m benchmarks.serving.kept`: load with store, kept images, shadow and feedback on against off."""

import argparse
import re
import statistics
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx

from benchmarks import measure, pictures
from benchmarks.serving import contestants, load
from benchmarks.serving.contestants import Server
from benchmarks.serving.load import Load
from pipeline.errors import exit_with_line
from pipeline.files import project_root
from serving import bundle
from serving.errors import ImageError
from serving.predictor import Predictor
from serving.store.database import Database

CLIENTS = (1, 16)
ROUNDS = 5
_IMAGES = 64
_READER_SECONDS = 0.5
_QUIET_SECONDS = 2.0
_SECRET = "f" * 32
_COUNTED = r"^(fracture_(?:images|shadow|store)_\w+_total)(?:\{[^}]*\})? ([0-9.e+]+)$"


def settings(folder: Path, shadow: Path, store: str) -> dict[str, str]:
    """Everything on: answers and images kept, a second bundle in the shadow, feedback taken."""
    (folder / "kept").mkdir()
    return {
        "FRACTURE_STORE_URL": store,
        "FRACTURE_PSEUDONYM_KEY": _SECRET,
        "FRACTURE_FEEDBACK_KEY": _SECRET,
        "FRACTURE_KEEP_IMAGES": str(folder / "kept"),
        "FRACTURE_SHADOW_BUNDLE": str(shadow),
    }


def answered(folder: Path, files: list[Path]) -> tuple[dict[str, bytes], dict[str, str]]:
    """Some images that a bundle answers, and its labels."""
    predictor = Predictor(bundle.read(folder))
    images: dict[str, bytes] = {}
    labels: dict[str, str] = {}
    for path in files[:: max(1, len(files) // (2 * _IMAGES))]:
        try:
            labels[path.name] = predictor.predict(path.read_bytes()).label
        except ImageError:
            continue
        images[path.name] = path.read_bytes()
        if len(images) == _IMAGES:
            break
    return images, labels


@contextmanager
def a_reader(server: Server, image: bytes) -> Iterator[None]:
    """Somebody who sends an image every half second and, where that is asked for, says what became of it."""
    ending = threading.Event()

    def read() -> None:
        with httpx.Client(base_url=server.url, timeout=60) as client:
            while not ending.wait(_READER_SECONDS):
                said = client.post("/predict", files={"image": image}).json()
                if token := said.get("feedback_token"):
                    body = {"answer_id": said["answer_id"], "feedback_token": token, "opinion": "agree"}
                    client.post("/feedback", json=body).raise_for_status()

    reader = threading.Thread(target=read)
    reader.start()
    try:
        yield
    finally:
        ending.set()
        reader.join()


def counters(server: Server) -> dict[str, float]:
    """What a server counts of its store, images and shadow, over all reasons."""
    with urllib.request.urlopen(f"{server.url}/metrics", timeout=60) as answer:  # noqa: S310  loopback
        text = answer.read().decode()
    found: dict[str, float] = {}
    for name, value in re.findall(_COUNTED, text, re.MULTILINE):
        found[name] = found.get(name, 0.0) + float(value)
    return found


def settle(server: Server) -> None:
    """Wait until nothing that waits in a server would disturb the other one's turn."""
    before: Mapping[str, float] = {}
    while (now := counters(server)) != before:
        before = now
        time.sleep(_QUIET_SECONDS)


def report(name: str, on: list[Load], off: list[Load]) -> None:
    """Ratios of on over off, within each turn."""
    for what, values in (
        ("p50", measure.ratios([one.p50 for one in on], [one.p50 for one in off])),
        ("p99", measure.ratios([one.p99 for one in on], [one.p99 for one in off])),
    ):
        print(f"{name}, {what}, on / off: {measure.spread(values).strip()}  {measure.verdict(values, 1.1, False)}")
    rates = measure.ratios([one.rate for one in on], [one.rate for one in off])
    print(f"{name}, answers a second, on / off: {measure.spread(rates).strip()}")
    for which, runs in (("on", on), ("off", off)):
        p50, p99 = (statistics.median(values) for values in zip(*((one.p50, one.p99) for one in runs), strict=True))
        clean = "all right" if all(one.clean for one in runs) else f"not all right: {runs}"
        print(f"  {which}: p50 {p50:.1f} ms, p99 {p99:.1f} ms, {clean}")


def main() -> None:
    """Read the options and run."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving.kept", description=__doc__)
    parser.add_argument("--seconds", type=float, default=6.0, help="of each turn of each contestant")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--workers", type=int, default=measure.cores())
    parser.add_argument("--bundle", type=Path, help="by default the one that fracture serve takes")
    parser.add_argument("--shadow", type=Path, help="by default the served one once more")
    parser.add_argument("--store", default="", help="an empty database; by default SQLite")
    options = parser.parse_args()
    print(measure.machine(["ai-edge-litert", "bentoml", "sqlalchemy"]))
    measure.warn_of_load()
    served = options.bundle or bundle.find_default(project_root())
    with tempfile.TemporaryDirectory(prefix="fracture-kept-") as name, ExitStack() as stack:
        folder = Path(name)
        data = pictures.radiographs(folder / "data")
        images, labels = answered(served, [data.folder / file for file in data.labels["file"]])
        load.write_inputs(folder / "inputs", images, labels)
        store = options.store or f"sqlite:///{folder / 'answers.db'}"
        Database(store).upgrade()
        chosen = {
            "off": {"BENTOML_HOME": str(folder / "off")},
            "on": {"BENTOML_HOME": str(folder / "on"), **settings(folder, options.shadow or served, store)},
        }
        servers = {
            which: stack.enter_context(contestants.ours(served, options.workers, 1, given))
            for which, given in chosen.items()
        }
        print(f"{served}, {options.workers} workers, {len(images)} images of {data.info.title()}")
        runs: dict[tuple[str, int], list[Load]] = {}
        for number in range(options.rounds + 1):
            for which, server in servers.items():
                with a_reader(server, next(iter(images.values()))):
                    for clients in CLIENTS:
                        met = load.run(server.url, folder / "inputs", clients, options.seconds)
                        if number:
                            runs.setdefault((which, clients), []).append(met)
                settle(server)
        for clients in CLIENTS:
            report(f"{clients} client{'s' * (clients > 1)}", runs["on", clients], runs["off", clients])
        for counter, value in sorted(counters(servers["on"]).items()):
            print(f"{counter}: {value:.0f}")


if __name__ == "__main__":
    exit_with_line(main)
