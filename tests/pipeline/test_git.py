"""What Git says of a checkout."""

import subprocess
from pathlib import Path

import pytest

from pipeline.git import GitError, git, git_bytes, git_commit


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    (tmp_path / "reports").mkdir()
    for name in ("params.yaml", "dvc.lock", "data.dvc", "reports/metrics.json"):
        (tmp_path / name).write_text("old")
    for command in (["init", "-q"], ["add", "-A"], [*_AUTHOR, "commit", "-qm", "all"]):
        subprocess.run(["git", *command], cwd=tmp_path, check=True)
    return tmp_path


_AUTHOR = ["-c", "user.name=t", "-c", "user.email=t@example.org"]


def test_a_changed_file_makes_the_commit_dirty(repository: Path) -> None:
    clean = git_commit(repository)
    (repository / "params.yaml").write_text("new")
    assert len(clean) == 40
    assert git_commit(repository) == f"{clean}-dirty"


@pytest.mark.parametrize("name", ["dvc.lock", "data.dvc", "reports/metrics.json"])
def test_what_a_run_writes_does_not_make_the_commit_dirty(name: str, repository: Path) -> None:
    (repository / name).write_text("new")
    assert not git_commit(repository).endswith("-dirty")


def test_outside_git_the_commit_is_unknown(tmp_path: Path) -> None:
    assert git_commit(tmp_path) == "unknown"


def test_a_refusal_is_one_line_of_git(repository: Path) -> None:
    with pytest.raises(GitError, match=r"git show refuses: fatal: .*nothing-of-this-name") as raised:
        git(repository, "show", "HEAD:nothing-of-this-name")
    assert "\n" not in str(raised.value)


def test_without_git_the_commit_is_unknown(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert git_commit(repository) == "unknown"


def test_a_file_is_read_to_the_byte(repository: Path) -> None:
    content = b" \r\n\xff\n"
    (repository / "data.dvc").write_bytes(content)
    for command in (["add", "-A"], [*_AUTHOR, "commit", "-qm", "bytes"]):
        subprocess.run(["git", *command], cwd=repository, check=True)
    assert git_bytes(repository, "show", "HEAD:data.dvc") == content
