"""The contestants: our service, Flask + Keras with the same weights, and a bare loop without HTTP."""

import contextlib
import io
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import psutil

from pipeline import params, preprocess, train
from pipeline.artifacts import Artifacts
from pipeline.data import prepared
from pipeline.data.layout import Dataset
from pipeline.data.validation.tables import image_table
from pipeline.evaluation.report import evaluate
from pipeline.files import project_root
from pipeline.packaging.bundle import Registered, write_bundle
from pipeline.params import EvaluateParams, PreprocessParams
from pipeline.registry.records import ModelVersion
from pipeline.training import architectures
from pipeline.training.checkpoints import CheckpointStore
from pipeline.training.params import TrainParams
from serving import bundle
from serving.decision import FRACTURED, NORMAL
from serving.network import Network
from serving.predictor import Predictor

COUNT = 64
"""Different images in the load."""
_PREPARED_IMAGES = 300
_READY_SECONDS = 180.0


@dataclass(frozen=True)
class Contest:
    """One network at one size: its bundle, the Keras file of the peer, and the images of the load."""

    name: str
    size: int
    bundle: Path
    keras: Path
    images: Mapping[str, bytes]


def prepare(name: str, size: int, data: Dataset, folder: Path) -> Contest:
    """Train a network for two epochs on a few hundred images and package it: only its speed is asked.

    `name` is cnn or mobilenet; the latter from IMAGENET_WEIGHTS where that is set, else from random weights. The
    guard is told to accept everything: such a network has little idea of what is strange.
    """
    import keras  # noqa: PLC0415

    root = folder / f"{name}-{size}"
    for part in ("prepared", "build/model", "reports"):
        (root / part).mkdir(parents=True)
    table = image_table(data, params.ValidateParams().near_duplicate_correlation)
    whole = table[table["decoded"] == "whole"].sort_values("image_id")
    usable = whole.iloc[:: max(1, len(whole) // _PREPARED_IMAGES)].assign(excluded="").reset_index(drop=True)
    preprocess.preprocess(data, usable, PreprocessParams(image_size=size), root / "prepared")
    loaded = prepared.load(root / "prepared")
    options = TrainParams(epochs=2)
    if name == "mobilenet":
        weights = os.environ.get("IMAGENET_WEIGHTS", "none")
        options = TrainParams(
            architecture="MobileNet", architecture_options={"alpha": 0.75}, weights=weights, epochs=2, frozen_epochs=1,
        )  # fmt: skip
    no_mirror: Any = SimpleNamespace(run_id="", log_metrics=lambda *_: None)
    model, state = train.fit(loaded, options, CheckpointStore(root / "checkpoints"), lambda _: no_mirror)
    train.write_model(model, state, loaded, options, root / "build/model")
    trained, training = architectures.load_trained(root / "build/model")
    written = Artifacts(root)
    # Not a file that is closed: a library's log keeps the stream and writes to it later.
    with contextlib.redirect_stderr(io.StringIO()):
        report = evaluate(loaded, trained, training, EvaluateParams(bootstrap=100, gallery=0))
        report.write(written)
        found = Registered(
            version=ModelVersion(name, "1", run_id="", tags={}),
            model=trained,
            training=training,
            decision=report.decision,
            metrics=report.metrics,
            reference=written.reference,
        )
        write_bundle(found, loaded, root / "bundle")
    accept_everything(root / "bundle")
    peer = keras.Input((size, size, 1))
    # 255 x and a half: the network takes whole grey levels, and the peer gives it fractions of one.
    keras.Model(peer, model(keras.layers.Rescaling(255.0, 0.5)(peer))).save(root / "peer.keras")
    paths = [data.folder / file for file in usable["file"]][:: max(1, len(usable) // COUNT)][:COUNT]
    return Contest(name, size, root / "bundle", root / "peer.keras", {path.name: path.read_bytes() for path in paths})


def accept_everything(folder: Path) -> None:
    """Tell the guard of a bundle to refuse nothing, so that every contestant runs its network on every image."""
    facts = bundle.read_manifest(folder).model_dump(exclude={"files", "digest", "schema_version"})
    bundle.write(folder, {**facts, "guard": {"unusual": 1e9, "limit": 1e9}})


def our_labels(contest: Contest) -> dict[str, str]:
    """What prediction in this process answers."""
    predictor = Predictor(bundle.read(contest.bundle))
    return {name: predictor.predict(content).label for name, content in contest.images.items()}


def peer_labels(contest: Contest) -> dict[str, str]:
    """What the peer should answer, from one batch through Keras."""
    import keras  # noqa: PLC0415

    model = keras.models.load_model(contest.keras, compile=False)
    size = (contest.size, contest.size)
    decoded: list[Any] = [
        cv2.imdecode(np.frombuffer(c, np.uint8), cv2.IMREAD_GRAYSCALE) for c in contest.images.values()
    ]
    batch = np.stack([np.asarray(cv2.resize(pixels, size) / 255.0, np.float32) for pixels in decoded])
    scores = model.predict(batch[..., np.newaxis], verbose=0)[:, 0]
    return {name: FRACTURED if p >= 0.5 else NORMAL for name, p in zip(contest.images, scores, strict=True)}


@dataclass(frozen=True)
class Server:
    """A running contestant."""

    url: str
    process: psutil.Process
    ready_seconds: float

    def workers(self) -> list[psutil.Process]:
        """The processes that answer."""
        return [child for child in self.process.children(recursive=True) if _is_worker(child)]


def _is_worker(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.Error):
        return any(part in " ".join(process.cmdline()) for part in ("_bentoml_impl.worker", "gunicorn"))
    return False


@contextmanager
def ours(folder: Path, workers: int, threads: int, settings: Mapping[str, str] | None = None) -> Iterator[Server]:
    """Our service under BentoML, as `fracture serve` starts it."""
    command = [sys.executable, "-m", "bentoml", "serve", "service:FractureService", "--host", "127.0.0.1"]
    environment = {
        "FRACTURE_BUNDLE": str(folder), "FRACTURE_WORKERS": str(workers), "FRACTURE_THREADS": str(threads),
        "BENTOML_DO_NOT_TRACK": "True", "BENTOML_HOME": str(folder.parent / "bentoml"), **(settings or {}),
    }  # fmt: skip
    with _serving(command, environment, "--port") as server:
        yield server


@contextmanager
def flask(contest: Contest, workers: int) -> Iterator[Server]:
    """The peer behind gunicorn."""
    command = [
        sys.executable, "-m", "gunicorn", "--workers", str(workers), "--timeout", "300", "--log-level", "error",
        "benchmarks.serving.flask_app:app",
    ]  # fmt: skip
    environment = {
        "PEER_MODEL": str(contest.keras), "PEER_SIZE": str(contest.size), "TF_CPP_MIN_LOG_LEVEL": "3",
    }  # fmt: skip
    with _serving(command, environment, "--bind") as server:
        yield server


@contextmanager
def _serving(command: list[str], environment: Mapping[str, str], port_option: str) -> Iterator[Server]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address = f"127.0.0.1:{port}" if port_option == "--bind" else str(port)
    began = time.monotonic()
    process = subprocess.Popen(
        [*command, port_option, address], cwd=project_root(), env={**os.environ, **environment},
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    try:
        _wait(f"http://127.0.0.1:{port}/readyz", process, began)
        yield Server(f"http://127.0.0.1:{port}", psutil.Process(process.pid), time.monotonic() - began)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        process.wait(60)


def _wait(url: str, process: "subprocess.Popen[bytes]", began: float) -> None:
    while time.monotonic() - began < _READY_SECONDS:
        if process.poll() is not None:
            raise RuntimeError(f"the server ended with code {process.returncode}")
        try:
            with urllib.request.urlopen(url, timeout=60):  # noqa: S310  loopback
                return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.1)
    raise RuntimeError("the server was not ready in time")


def bare_rate(contest: Contest, cores: int, seconds: float) -> float:
    """Images a second of `imdecode` + `resize` + LiteRT in one process a core, nothing else."""
    context = multiprocessing.get_context("spawn")
    arguments = (str(contest.bundle / bundle.MODEL), contest.size, tuple(contest.images.values()), seconds)
    with context.Pool(cores) as pool:
        return sum(pool.starmap(_bare_loop, [arguments] * cores, chunksize=1))


def _bare_loop(model: str, size: int, images: tuple[bytes, ...], seconds: float) -> float:
    cv2.setNumThreads(1)
    network = Network(Path(model))
    count = 0
    _bare_step(network, images[0], size)
    end = (began := time.perf_counter()) + seconds
    while time.perf_counter() < end:
        _bare_step(network, images[count % len(images)], size)
        count += 1
    return count / (time.perf_counter() - began)


def _bare_step(network: Network, content: bytes, size: int) -> None:
    pixels: Any = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_GRAYSCALE)
    network(np.asarray(cv2.resize(pixels, (size, size)), np.uint8))


def batches(contest: Contest, sizes: tuple[int, ...] = (1, 2, 4, 8)) -> list[tuple[int, float]]:
    """Milliseconds an image of the network alone, on one thread, by the size of the batch."""
    from ai_edge_litert.interpreter import Interpreter  # noqa: PLC0415

    found = []
    for size in sizes:
        runner: Any = Interpreter(model_path=str(contest.bundle / bundle.MODEL), num_threads=1).get_signature_runner()
        pixels = np.random.default_rng(0).integers(0, 255, (size, contest.size, contest.size, 1), np.uint8)
        taken = []
        for _ in range(30):
            began = time.perf_counter()
            runner(pixels=pixels)
            taken.append(time.perf_counter() - began)
        found.append((size, float(np.median(taken)) * 1000 / size))
    return found
