"""Build a bento from a bundle."""

import re
import shutil
import sys
import tempfile
from pathlib import Path

from pipeline import programs
from pipeline.errors import InputError
from pipeline.files import atomic_folder
from serving import bundle, signature
from serving.http.settings import OFFLINE


def build_bento(root: Path, folder: Path, target: Path, page: Path | None = None) -> str:
    """Build the bento of a bundle with bentofile.yaml into `target` and return its tag; InputError when that fails.

    `page` is the folder of a page for devices, which the bento's service then offers.
    """
    manifest = bundle.read(folder, unsigned=True).manifest
    with tempfile.TemporaryDirectory(prefix="fracture-bento-") as name:
        stage, home = Path(name) / "stage", Path(name) / "home"
        stage.mkdir()
        for part in ("service.py", "bentofile.yaml"):
            shutil.copy(root / part, stage)
        shutil.copytree(root / "serving", stage / "serving", ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copytree(folder, stage / "bundle")
        if signature.beside(folder).is_file():
            shutil.copy(signature.beside(folder), signature.beside(stage / "bundle"))
        if page is not None:
            shutil.copytree(page, stage / OFFLINE)
        (stage / "locks").mkdir()
        for lock in ("service.txt", "store.txt", "verify.txt"):
            shutil.copy(root / "locks" / lock, stage / "locks")
        # BentoML takes no `+`, as the version of a recalibrated bundle has one.
        version = re.sub(r"[^a-z0-9._-]", ".", f"{manifest.version}-{manifest.files[bundle.MODEL][:12]}".lower())
        labels = {
            "registry_version": manifest.version,
            "run_id": manifest.origin.run_id,
            "git_commit": manifest.origin.git_commit,
            "data_hash": manifest.origin.data_hash,
            "model_sha256": manifest.files[bundle.MODEL],
        }
        command = [sys.executable, "-m", "bentoml", "build", "--version", version, "--output", "tag"]
        for key, value in labels.items():
            command += ["--label", f"{key}={value}"]
        environment = {"BENTOML_HOME": str(home), "BENTOML_DO_NOT_TRACK": "True"}
        done = programs.run(command, folder=stage, environment=environment, seconds=None)
        built = list((home / "bentos/bone-fracture").glob(version))
        if done.returncode or not built:
            raise InputError(f"bentoml build failed: {programs.last_line(done.stderr or done.stdout)}")
        with atomic_folder(target) as partial:
            shutil.copytree(built[0], partial, dirs_exist_ok=True)
            partial.chmod(0o755)  # BentoML made it for its owner alone; a container's user has to read it
    return f"bone-fracture:{version}"
