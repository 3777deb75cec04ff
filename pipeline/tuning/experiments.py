"""Trials as DVC experiments: a commit beside the history that `dvc exp show`, `apply`, `branch` and `push` know.

An experiment holds params.yaml with the trial's values, and its figures in trial/metrics.json, which trial/dvc.yaml
declares. `dvc exp save` is not used: it commits every stage to dvc.lock as if today's outputs had been made with the
trial's values, so that `dvc repro` after `dvc exp apply` would train nothing; and `dvc exp run` makes one model by one
split, where a trial is several that may be stopped. So dvc.lock stays as it is, and `dvc repro` makes what it lacks.
The test set's metrics of the commit are left out: they are those of another model.
"""

import json
import os
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

from dvc.repo.experiments.refs import ExpRefInfo

from pipeline.artifacts import Artifacts
from pipeline.errors import InputError

FOLDER = "trial"
_METRICS = "metrics.json"
_DECLARED = f"metrics:\n  - {_METRICS}\n"
_FILE = "100644"


class Experiments:
    """Makes experiments of the commit that is checked out, with the changes of tracked files that are not committed.

    Nothing in the working tree or in Git's index changes. InputError outside a Git repository with a commit.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        try:
            self._commit = self._git("rev-parse", "--verify", "HEAD")
            self._base = self._git("stash", "create", variables=_AUTHOR) or self._commit
        except (OSError, subprocess.CalledProcessError):
            raise InputError(f"{root}: is no Git repository with a commit, so trials are no DVC experiments") from None

    def save(self, name: str, params: str, figures: Mapping[str, object]) -> None:
        """Make the experiment `name`, or replace it: `params` is the text of its params.yaml."""
        metrics = json.dumps(figures, indent=2, sort_keys=True, allow_nan=False) + "\n"
        files = {
            Artifacts().params.as_posix(): params,
            f"{FOLDER}/dvc.yaml": _DECLARED,
            f"{FOLDER}/{_METRICS}": metrics,
        }
        with tempfile.TemporaryDirectory(prefix="fracture-index-") as folder:
            index = {"GIT_INDEX_FILE": str(Path(folder) / "index")}
            self._git("read-tree", self._base, variables=index)
            of_another_model = [path.as_posix() for path in (Artifacts().metrics, Artifacts().slices)]
            self._git("update-index", "--force-remove", *of_another_model, variables=index)
            for path, text in files.items():
                blob = self._git("hash-object", "-w", "--stdin", text=text)
                self._git("update-index", "--add", "--cacheinfo", f"{_FILE},{blob},{path}", variables=index)
            tree = self._git("write-tree", variables=index)
        made = self._git("commit-tree", tree, "-p", self._commit, "-m", f"fracture tune: {name}", variables=_AUTHOR)
        self._git("update-ref", str(ExpRefInfo(self._commit, name)), made)

    def _git(self, *arguments: str, text: str = "", variables: Mapping[str, str] | None = None) -> str:
        done = subprocess.run(  # noqa: S603  fixed words, and names that this module makes
            ["git", "-C", str(self._root), *arguments],  # noqa: S607  the person's own Git
            input=text,
            env=os.environ | dict(variables or {}),
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.strip()


_AUTHOR = {
    f"GIT_{role}_{what}": value
    for role in ("AUTHOR", "COMMITTER")
    for what, value in (("NAME", "fracture tune"), ("EMAIL", "tune@localhost"))
}
"""Git may know nobody on a cluster's node."""
