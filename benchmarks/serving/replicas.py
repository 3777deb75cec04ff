"""`python -m benchmarks.serving.replicas`: the container image behind haproxy, one replica and two.

Takes a folder with a bundle, builds its image on a base of Debian's packages with buildah, and starts the image's own
command in a root that is mounted read-only, as tests/deploy/test_image.py does; needs the right to mount.
"""

import argparse
import contextlib
import os
import shutil
import socket
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

from benchmarks import measure, pictures
from benchmarks.serving import load
from pipeline.cloud import image
from pipeline.errors import InputError, exit_with_line
from pipeline.files import project_root
from pipeline.packaging.bento import build_bento
from serving import bundle
from serving.errors import ImageError
from serving.predictor import Predictor
from tests.deploy.containers import Storage, debian, may_mount, running, status, wait_for

CLIENTS = 16
ROUNDS = 5
TAG = "bone-fracture:replicas"
_IMAGES = 64


@contextlib.contextmanager
def haproxy(folder: Path, addresses: list[str]) -> Iterator[str]:
    """A proxy that gives each request to the replica with the fewest; its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    servers = "".join(
        f"  server r{number} {address.removeprefix('http://')}\n" for number, address in enumerate(addresses)
    )
    settings = folder / "haproxy.cfg"
    settings.write_text(
        "defaults\n  mode http\n  timeout connect 5s\n  timeout client 60s\n  timeout server 60s\n"
        f"frontend all\n  bind 127.0.0.1:{port}\n  default_backend service\n"
        f"backend service\n  balance leastconn\n{servers}",
        encoding="utf-8",
    )
    program = shutil.which("haproxy")
    if program is None:
        raise InputError("haproxy is not installed; sudo apt-get install haproxy")
    process = subprocess.Popen([program, "-f", str(settings), "-db"], stderr=subprocess.DEVNULL)
    try:
        while status(f"http://127.0.0.1:{port}/livez") != 200:
            if process.poll() is not None:
                raise InputError("haproxy did not start")
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10)


@contextlib.contextmanager
def unpacked(storage: Storage, chosen: Path, folder: Path, count: int) -> Iterator[list[Path]]:
    """The root file systems of as many containers of one image, each with a model in it."""
    build_bento(project_root(), chosen, folder / "bento")
    debian(folder / "base.tar")
    storage.prepare()
    with mock.patch.dict(os.environ, storage.environment):
        image.build(folder / "bento", TAG, str(folder / "base.tar"), "buildah")
    containers = [storage.buildah("from", "--pull-never", TAG) for _ in range(count)]
    try:
        yield [Path(storage.buildah("mount", container)) for container in containers]
    finally:
        image.sbom_path(TAG).unlink(missing_ok=True)
        for container in containers:
            storage.buildah("rm", container)


def main() -> None:
    """Read the options and run."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving.replicas", description=__doc__)
    parser.add_argument("--bundle", type=Path, help="by default what `fracture serve` would serve")
    parser.add_argument("--seconds", type=float, default=15.0)
    options = parser.parse_args()
    if not may_mount():
        raise InputError("this machine does not let a root be mounted read-only; run as root")
    chosen = options.bundle or bundle.find_default(project_root())
    print(measure.machine(["ai-edge-litert", "bentoml"]))
    with tempfile.TemporaryDirectory(prefix="fracture-replicas-") as name:
        folder = Path(name)
        data = pictures.radiographs(folder / "data")
        files = sorted((data.folder / "images").iterdir())
        predictor = Predictor(bundle.read(chosen))
        labels: dict[str, str] = {}
        images: dict[str, bytes] = {}
        for path in files[:: max(1, len(files) // (2 * _IMAGES))]:
            content = path.read_bytes()
            with contextlib.suppress(ImageError):  # what the guard refuses is no load
                labels[path.name] = predictor.predict(content).label
                images[path.name] = content
        load.write_inputs(folder / "inputs", images, labels)
        storage = Storage(folder / "storage")
        with unpacked(storage, chosen, folder, 2) as roots:
            rates: dict[int, list[load.Load]] = {1: [], 2: []}
            facts = {**storage.facts(TAG)}
            # As a small task in the cloud: one worker to a replica.
            facts["Env"] = [*facts["Env"], "FRACTURE_WORKERS=1"]
            with contextlib.ExitStack() as stack:
                addresses = []
                for number, root in enumerate(roots):
                    log = folder / f"replica{number}.txt"
                    process, address = stack.enter_context(running(root, facts, log))
                    wait_for(f"{address}/readyz", process, log)
                    addresses.append(address)
                for _ in range(ROUNDS):
                    for count, met in rates.items():
                        with haproxy(folder, addresses[:count]) as address:
                            load.run(address, folder / "inputs", CLIENTS, 2)
                            met.append(load.run(address, folder / "inputs", CLIENTS, options.seconds))
    print(f"{chosen}: {len(images)} images, {CLIENTS} clients, {ROUNDS} rounds of {options.seconds:g} s in turns")
    for count, met in rates.items():
        print(
            f"{count} replica(s) of 1 worker: {_spread([one.rate for one in met])} images/s, "
            f"p50 {_spread([one.p50 for one in met])} ms, p99 {_spread([one.p99 for one in met])} ms, "
            f"wrong {sum(one.wrong for one in met)}, busy {sum(one.busy for one in met)}, "
            f"other {sum(one.other + one.errors for one in met)}"
        )
    gains = [two.rate / one.rate for one, two in zip(rates[1], rates[2], strict=True)]
    print(f"two replicas' rate over one's: {_spread(gains, 2)}")


def _spread(values: list[float], digits: int = 1) -> str:
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f}-{max(values):.{digits}f})"


if __name__ == "__main__":
    exit_with_line(main)
