"""`fracture doctor`: checks that everything a run needs is here, and names the command that mends what is not."""

import importlib.metadata
import shutil
import sqlite3
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from pipeline.artifacts import Artifacts
from pipeline.cli.ports import check_port
from pipeline.errors import InputError
from pipeline.files import project_root
from pipeline.late import late
from pipeline.lockfile import read_lock
from pipeline.registry import champion as champions
from pipeline.registry import moved, promotion
from pipeline.registry.mlflow import connect
from pipeline.registry.tracking import database_file, shown_uri
from serving.errors import BundleError

if TYPE_CHECKING:
    from pipeline import params
    from pipeline.data import layout
    from serving import bundle
else:
    params = late("pipeline.params")
    layout = late("pipeline.data.layout")
    bundle = late("serving.bundle")

_LOCK = "locks/full.txt"
_NEEDED_GIB = 5.0
_PORTS = {3000: "the prediction service", 5000: "make mlflow"}


@dataclass(frozen=True)
class Finding:
    """One line of the report: ok, warning or error."""

    state: str
    subject: str
    text: str


def check_versions(root: Path) -> Finding:
    """Installed packages against the lock."""
    lock = root / _LOCK
    if not lock.is_file():
        return Finding("error", "packages", f"{_LOCK} is missing; restore it with `git checkout {_LOCK}`")
    try:
        packages = read_lock(lock)
    except InputError as error:
        return Finding("error", "packages", str(error))
    wrong = []
    for package in packages:
        if not package.applies({}):
            continue
        try:
            found = importlib.metadata.version(package.name)
        except importlib.metadata.PackageNotFoundError:
            found = "missing"
        if found != package.version:
            wrong.append(f"{package.name} {found} instead of {package.version}")
    if wrong:
        more = f" and {len(wrong) - 5} more" if len(wrong) > 5 else ""
        return Finding("error", "packages", f"{', '.join(wrong[:5])}{more}; run `make setup`")
    return Finding("ok", "packages", f"as {_LOCK} says")


def check_python() -> Finding:
    """The interpreter's version."""
    version = ".".join(map(str, sys.version_info[:3]))
    if (3, 11) <= sys.version_info[:2] <= (3, 13):
        return Finding("ok", "python", version)
    return Finding("error", "python", f"{version}; 3.11 to 3.13 are supported")


def check_disk(root: Path) -> Finding:
    """Free space for environment, data, cache and runs."""
    free = shutil.disk_usage(root).free / 2**30
    if free >= _NEEDED_GIB:
        return Finding("ok", "disk", f"{free:.0f} GiB free")
    return Finding(
        "warning",
        "disk",
        f"{free:.1f} GiB free, {_NEEDED_GIB:.0f} are needed; see docs/training.md on clearing old runs",
    )


def check_ports() -> Iterator[Finding]:
    """Whether the ports of the servers are free on loopback."""
    for port, user in _PORTS.items():
        try:
            check_port("127.0.0.1", port)
        except InputError:
            yield Finding("warning", f"port {port}", f"in use; give {user} another one with --port")
        else:
            yield Finding("ok", f"port {port}", f"free for {user}")


def check_gpu() -> Finding:
    """Whether an NVIDIA driver is there and TensorFlow has the libraries to use it."""
    if shutil.which("nvidia-smi") is None:
        return Finding("ok", "gpu", "none; training runs on the CPU")
    try:
        importlib.metadata.version("nvidia-cudnn-cu12")
    except importlib.metadata.PackageNotFoundError:
        return Finding("warning", "gpu", "found, but TensorFlow cannot use it; run `make setup EXTRA=gpu`")
    return Finding("ok", "gpu", "found, with TensorFlow's CUDA libraries")


def check_data(root: Path) -> Finding:
    """Whether data/ can be read."""
    try:
        data = layout.read(root / "data")
    except InputError as error:
        fill = "`fracture data sample`, `fracture data fracatlas` or `fracture data folder DIR`"
        state = "error" if (root / "data").exists() else "warning"
        return Finding(state, "data", f"{error}" if state == "error" else f"none yet; make it with {fill}")
    return Finding("ok", "data", f"{data.info.title()}, {len(data.labels)} images")


def check_tracking(root: Path) -> Iterator[Finding]:
    """Whether the tracking server answers, and whether its champion may be used."""
    file = database_file()
    if file is not None and not file.exists():
        yield Finding("ok", "mlflow", "no database yet; the first run makes mlflow.db")
        return
    try:
        former = moved.former_folder(file) if file == root / "mlflow.db" else None
    except sqlite3.Error:
        former = None  # said below
    if former:
        yield Finding("warning", "mlflow", f"made when the project was in {former}; artifacts are now looked for here")
    try:
        name = params.load(root / "params.yaml").register_.model_name
        champion = champions.observe_if_allowed(connect(), name)
    except InputError as error:
        yield Finding("error", "mlflow", str(error))
        return
    yield Finding("ok", "mlflow", f"{shown_uri()} answers")
    if champion is None:
        yield Finding("ok", "champion", f"none of {name} yet; `fracture promote` after `dvc repro`")
        return
    try:
        promotion.require_fit(champion)
    except InputError as error:
        yield Finding("error", "champion", str(error))
    else:
        yield Finding("ok", "champion", f"{name} version {champion.version}")


def check_bundle(root: Path) -> Finding:
    """Whether there is a whole bundle to serve."""
    try:
        folder = bundle.find_default(root)
        manifest = bundle.read(folder).manifest
    except BundleError as error:
        paths = Artifacts(root)
        nothing = not (paths.bundles.exists() or paths.releases.exists())
        return Finding(
            "ok" if nothing else "error", "bundle", "none yet; `fracture package`" if nothing else str(error)
        )
    return Finding("ok", "bundle", f"{folder.relative_to(root)}: {manifest.name} version {manifest.version}")


def findings(root: Path) -> Iterator[Finding]:
    """Every check in turn."""
    yield check_python()
    yield check_versions(root)
    yield check_disk(root)
    yield from check_ports()
    yield check_gpu()
    yield check_data(root)
    yield from check_tracking(root)
    yield check_bundle(root)


def doctor() -> None:
    """Check versions against the lock, disk, ports, GPU, data, tracking server and champion."""
    worst = 0
    for finding in findings(project_root()):
        print(f"{finding.state:<8}{finding.subject:<12}{finding.text}")
        worst = max(worst, finding.state == "error")
    if worst:
        raise typer.Exit(1)
