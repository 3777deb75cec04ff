"""Build the container image of a bento with docker, podman or buildah.

The hashed lock inside the bento is installed on this machine for the image's, and copied in: so the build reaches no
network, a package mirror's credentials never get near it, and the image holds no installer.
"""

import platform
import re
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import uv

from pipeline.artifacts import Artifacts
from pipeline.cloud import push, sbom
from pipeline.errors import InputError
from pipeline.files import project_root, write_json
from pipeline.git import git_commit
from pipeline.late import late
from pipeline.lockfile import read_lock
from pipeline.programs import last_line, run

if TYPE_CHECKING:
    from pipeline.packaging import ml_bom
    from serving import bundle
else:
    ml_bom = late("pipeline.packaging.ml_bom")
    bundle = late("serving.bundle")

BASE = "python:3.11-slim-bookworm"
TRAIN_BASE = "python:3.11-bookworm"
"""With Git, which DVC experiments and the origin of a model need."""
PYTHON = "3.11"
"""Of the base; deploy/image/Dockerfile refuses another."""
LABEL = "org.bone-fracture"
_LIBRARY = "manylinux_2_28"  # glibc of Debian 10 and later
_SOURCE = "antlr4-python3-runtime"
"""Published as source alone, and pure Python (DVC needs it): built with the setuptools of this environment."""
_BUILD_SECONDS = 1800.0
_MACHINES = {"x86_64": "x86_64", "amd64": "x86_64", "arm64": "aarch64", "aarch64": "aarch64"}
_LOCK = "locks/service.txt"
_STORE_LOCK = "locks/store.txt"
_VERIFY_LOCK = "locks/verify.txt"
_RAY_LOCK, _TRAIN_LOCK = "locks/archive.txt", "locks/archive-train.txt"
_DOCKERFILE, _RAY_DOCKERFILE = "deploy/image/Dockerfile", "deploy/ray/Dockerfile"
_RAY_PACKAGES = ("pipeline", "serving")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/-]*")


def build(
    bento: Path,
    tag: str,
    base: str = "",
    tool: str = "",
    *,
    store: bool = False,
    verify: bool = False,
    ray: bool = False,
    train: bool = False,
) -> str:
    """Build the image of a bento, named `tag`, and write its list of parts beside; returns the tag.

    `base` is an image with Python 3.11, or a tar file of a root file system with it; by default BASE or TRAIN_BASE.
    `tool` is docker, podman or buildah, by default the first that works. With `store` the service can keep its answers
    (FRACTURE_STORE_URL), with `verify` check the signature of its bundle (FRACTURE_TRUSTED_KEYS). With `ray` it is no
    service but a node of a Ray cluster, with the bento's model and this checkout's code and lock; with `train` as well
    one that can also prepare, search and train.
    Raises InputError.
    """
    base = base or (TRAIN_BASE if train else BASE)
    labels = {**labels_of(bento), "org.opencontainers.image.base.name": str(base)}
    if not _NAME.fullmatch(tag):
        raise InputError(f"--tag {tag}: is no image's name; write one like bone-fracture:1")
    names = [_lock_of(store=store, ray=ray, train=train), *([_VERIFY_LOCK] if verify else [])]
    locks = [(project_root() if ray else bento / "src") / name for name in names]
    for name, lock in zip(names, locks, strict=True):
        if not lock.is_file():
            raise InputError(f"{bento}: holds no {name}, as older bentos do not; make one anew: fracture package")
    chosen = tool or push.find_tool()
    with tempfile.TemporaryDirectory(prefix="fracture-image-") as name:
        context = Path(name)
        _lay_source(bento, context / "src", ray=ray)
        shutil.copy(project_root() / (_RAY_DOCKERFILE if ray else _DOCKERFILE), context / "Dockerfile")
        for lock in locks:
            install(lock, context / "packages")
        for path in [context, *context.rglob("*")]:
            path.chmod(path.stat().st_mode | (0o755 if path.is_dir() else 0o644))  # for another user
        if Path(base).is_file():
            base = _import_base(chosen, Path(base), context)
        elif base.endswith((".tar", ".tar.gz", ".tar.xz")):
            raise InputError(f"--base {base}: no such file")
        arguments = ["--build-arg", f"BASE={base}"]
        for key, value in labels.items():
            arguments += ["--label", f"{key}={value}"]
        _run_build(chosen, context / "Dockerfile", context, tag, arguments)
    write_json(sbom_path(tag), _parts(locks, tag, labels))
    opened = bundle.read(bento / "src/bundle")
    write_json(ml_bom_path(tag), ml_bom.document(opened, datetime.now(UTC).isoformat(timespec="seconds")))
    return tag


def _lock_of(*, store: bool, ray: bool, train: bool) -> str:
    """Name of the lock that an image installs; InputError for options that exclude each other."""
    if store and ray:
        raise InputError("--store and --ray: a node of a Ray cluster keeps no answers of a service; give one of them")
    if train and not ray:
        raise InputError("--train: is for a node of a Ray cluster; give --ray as well")
    if ray:
        return _TRAIN_LOCK if train else _RAY_LOCK
    return _STORE_LOCK if store else _LOCK


def _lay_source(bento: Path, target: Path, *, ray: bool) -> None:
    """What the image runs: the bento's own files, or for a node of a Ray cluster this checkout's and its bundle."""
    ignored = shutil.ignore_patterns("__pycache__")
    if not ray:
        shutil.copytree(bento / "src", target, ignore=ignored)
        return
    for package in _RAY_PACKAGES:
        shutil.copytree(project_root() / package, target / package, ignore=ignored)
    shutil.copytree(bento / "src/bundle", target / "bundle")


def labels_of(bento: Path) -> dict[str, str]:
    """Where the model comes from, as labels of the image; InputError for a folder that is no bento of ours."""
    for part in ("service.py", _LOCK, f"bundle/{bundle.MANIFEST}"):
        if not (bento / "src" / part).is_file():
            raise InputError(f"{bento}: is no bento of ours (src/{part} is missing); make one: fracture package")
    opened = bundle.read(bento / "src/bundle")
    manifest, origin = opened.manifest, opened.manifest.origin
    return {
        "org.opencontainers.image.title": manifest.name,
        "org.opencontainers.image.version": manifest.version,
        "org.opencontainers.image.revision": git_commit(project_root()),
        "org.opencontainers.image.licenses": "Apache-2.0",
        f"{LABEL}.registry-version": manifest.version,
        f"{LABEL}.run-id": origin.run_id,
        f"{LABEL}.training-commit": origin.git_commit,
        f"{LABEL}.data-hash": origin.data_hash,
        f"{LABEL}.bundle-sha256": manifest.digest,
        f"{LABEL}.model-sha256": opened.sha256,
    }


def install(lock: Path, target: Path) -> None:
    """Install a hashed lock into a folder, for Linux on this machine's processor; InputError."""
    machine = _MACHINES.get(platform.machine().lower())
    if machine is None:
        raise InputError(f"images are built for x86_64 and aarch64, not for {platform.machine()}")
    # A command line, which the formatter would write one word a line.
    command = [
        uv.find_uv_bin(),
        "pip",
        "install",
        "--quiet",
        "--no-config",
        "--require-hashes",
        "--no-deps",
        "--only-binary",
        ":all:",
        "--no-binary",
        _SOURCE,
        "--no-build-isolation",
        "--python-version",
        PYTHON,
        "--python-platform",
        f"{machine}-{_LIBRARY}",
        "--python",
        sys.executable,
        "--link-mode",
        "copy",
        "--target",
        str(target),
        "--requirement",
        str(lock),
    ]
    done = run(command, seconds=_BUILD_SECONDS)
    if done.returncode:
        raise InputError(f"{lock}: cannot be installed: {_why(done.stderr or done.stdout)}")
    shutil.rmtree(target / "bin", ignore_errors=True)  # scripts that name this machine's Python


def _why(printed: str) -> str:
    """What uv complains of: the package whose hash is another one, if it is that, or its last line."""
    found = re.search(r"Hash mismatch for `([^`]+)`", " ".join(printed.split()))
    return f"{found[1]} has not the hash of the lock" if found else last_line(printed)


def _import_base(tool: str, archive: Path, context: Path) -> str:
    """An image that holds the root file system of a tar file, and nothing else."""
    folder = context.with_name(f"{context.name}-base")
    folder.mkdir()
    try:
        shutil.copy(archive, folder / "root.tar")
        (folder / "Dockerfile").write_text("FROM scratch\nADD root.tar /\n", encoding="utf-8")
        tag = "localhost/fracture-base:latest"
        _run_build(tool, folder / "Dockerfile", folder, tag, [])
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return tag


def _run_build(tool: str, file: Path, context: Path, tag: str, arguments: list[str]) -> None:
    # HEALTHCHECK is Docker's own; the others keep it in Docker's format only.
    kind = {"docker": ["build"], "podman": ["build", "--format", "docker"], "buildah": ["bud", "--format", "docker"]}
    done = run([tool, *kind[tool], "--file", str(file), "--tag", tag, *arguments, str(context)], seconds=_BUILD_SECONDS)
    if done.returncode:
        raise InputError(f"{tool} build: {last_line(done.stderr or done.stdout)}")


def sbom_path(tag: str) -> Path:
    """Where the list of an image's parts lies."""
    return Artifacts(project_root()).image_lists / f"{re.sub(r'[^A-Za-z0-9._-]', '-', tag)}.cdx.json"


def ml_bom_path(tag: str) -> Path:
    """Where the description of an image's model and data set lies, beside the list of its parts."""
    return sbom_path(tag).with_suffix("").with_suffix(".ml.cdx.json")


def _parts(locks: Sequence[Path], tag: str, labels: Mapping[str, str]) -> dict[str, object]:
    machine = _MACHINES[platform.machine().lower()]
    environment = {
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
        "os_name": "posix",
        "sys_platform": "linux",
        "platform_system": "Linux",
        "platform_machine": machine,
        "extra": "",
        "python_version": PYTHON,
        "python_full_version": f"{PYTHON}.0",
        "implementation_version": f"{PYTHON}.0",
        "platform_release": "",
        "platform_version": "",
    }
    packages = [package for lock in locks for package in read_lock(lock) if package.applies(environment)]
    return sbom.document(packages, tag, labels, datetime.now(UTC).isoformat(timespec="seconds"))
