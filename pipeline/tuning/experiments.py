"""Trials as DVC experiments: a commit beside the history that `dvc exp show`, `apply`, `branch` and `push` know.

An experiment holds params.yaml with the trial's values, and its figures in trial/metrics.json, which trial/dvc.yaml
declares. `dvc exp save` is not used: it commits every stage to dvc.lock as if today's outputs had been made with the
trial's values, so that `dvc repro` after `dvc exp apply` would train nothing; and `dvc exp run` makes one model by one
split, where a trial is several that may be stopped. So dvc.lock stays as it is, and `dvc repro` makes what it lacks.
The test set's metrics of the commit are left out: they are those of another model.
"""

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path

from dvc.repo.experiments.refs import ExpRefInfo

from pipeline.artifacts import Artifacts
from pipeline.errors import InputError
from pipeline.git import GitError, git

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
            self._commit = git(self._root, "rev-parse", "--verify", "HEAD")
            self._base = git(self._root, "stash", "create", environment=_AUTHOR) or self._commit
        except GitError:
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
            git(self._root, "read-tree", self._base, environment=index)
            of_another_model = [path.as_posix() for path in (Artifacts().metrics, Artifacts().slices)]
            git(self._root, "update-index", "--force-remove", *of_another_model, environment=index)
            for path, text in files.items():
                blob = git(self._root, "hash-object", "-w", "--stdin", stdin=text)
                git(self._root, "update-index", "--add", "--cacheinfo", f"{_FILE},{blob},{path}", environment=index)
            tree = git(self._root, "write-tree", environment=index)
        message = f"fracture tune: {name}"
        made = git(self._root, "commit-tree", tree, "-p", self._commit, "-m", message, environment=_AUTHOR)
        git(self._root, "update-ref", str(ExpRefInfo(self._commit, name)), made)


_AUTHOR = {
    f"GIT_{role}_{what}": value
    for role in ("AUTHOR", "COMMITTER")
    for what, value in (("NAME", "fracture tune"), ("EMAIL", "tune@localhost"))
}
"""Git may know nobody on a cluster's node."""
