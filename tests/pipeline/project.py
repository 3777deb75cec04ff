"""A checkout in a temporary folder, and its way to the first registered model."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from ruamel.yaml import YAML

ROOT = Path(__file__).parents[2]
PARTS = {"pipeline", "serving", ".dvc", ".dvcignore", ".gitignore", "dvc.yaml", "params.yaml"}

TINY: dict[str, dict[str, object]] = {
    "validate": {"min_per_class": 5},
    "preprocess": {"image_size": 48},
    "train": {"epochs": 3, "batch_size": 16, "early_stopping_patience": 0},
    "evaluate": {"bootstrap": 100, "gallery": 4, "guard_images": 20},
    "register": {"min_auroc": 0.0, "min_sensitivity": 0.0, "champion_margin": 1.0},
}


class Project:
    """A checkout of the working tree in a temporary folder, with small parameters and a small sample."""

    def __init__(self, root: Path) -> None:
        self.root = root
        bin_folder = Path(sys.executable).parent
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "DVC_"))},
            "PATH": f"{bin_folder}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(root),
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_AUTHOR_NAME": "t",
            "GIT_AUTHOR_EMAIL": "t@example.org",
            "GIT_COMMITTER_NAME": "t",
            "GIT_COMMITTER_EMAIL": "t@example.org",
        }

    def run(self, *command: str, code: int = 0, timeout: float = 600) -> str:
        """Run a command in the project; returns stdout and stderr together and checks the exit code."""
        done = subprocess.run(
            command,
            cwd=self.root,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        printed = done.stdout + done.stderr
        assert done.returncode == code, printed
        return printed

    def change(self, section: str, **values: object) -> None:
        """Change keys of params.yaml."""
        yaml = YAML()
        path = self.root / "params.yaml"
        content = yaml.load(path.read_text())
        content[section].update(values)
        with path.open("w") as file:
            yaml.dump(content, file)

    def commit(self, message: str) -> None:
        self.run("git", "add", "-A")
        self.run("git", "commit", "-qm", message)


def reproduce(root: Path) -> None:
    """Fill `root` with a project in which `dvc repro` ran once and everything is committed, and what it printed."""
    listing = ["git", "ls-files", "-co", "--exclude-standard"]
    tracked = subprocess.run(listing, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    for name in tracked:
        if name.split("/")[0] in PARTS and (ROOT / name).is_file():
            (root / "project" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, root / "project" / name)
    project = Project(root / "project")
    for section, values in TINY.items():
        project.change(section, **values)
    project.run("git", "init", "-q", "-b", "main")
    project.run("fracture", "data", "sample", "--count", "90", "--seed", "3")
    project.commit("start")
    printed = project.run("dvc", "repro")
    project.commit("first")
    (root / "printed.txt").write_text(printed)


def ran(printed: str) -> list[str]:
    """The stages that `dvc repro` ran, from what it printed."""
    return [line.split("'")[1] for line in printed.splitlines() if line.startswith("Running stage")]
