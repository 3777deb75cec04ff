"""What Git knows of a checkout."""

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

from pipeline.errors import InputError
from serving.errors import one_line

_GENERATED = ("data.dvc", "dvc.lock", "reports")
"""Committed, but generated: they differ by rounding on another processor although the code is the same."""


class GitError(InputError):
    """Git is not installed, or refuses: there is no repository, no such commit."""


def git(root: Path, *arguments: str, stdin: str = "", environment: Mapping[str, str] | None = None) -> str:
    """What Git prints of the checkout at `root`, without the white space around it; GitError."""
    return git_bytes(root, *arguments, stdin=stdin, environment=environment).decode(errors="replace").strip()


def git_bytes(root: Path, *arguments: str, stdin: str = "", environment: Mapping[str, str] | None = None) -> bytes:
    """The same to the byte: the content of a file, say."""
    command = ["git", "-C", str(root), *arguments]
    environment = {**os.environ, **(environment or {})}
    try:
        done = subprocess.run(command, input=stdin.encode(), env=environment, capture_output=True, check=True)  # noqa: S603  no shell reads the words
    except OSError as error:
        raise GitError(f"git: cannot be run ({one_line(error)})") from None
    except subprocess.CalledProcessError as error:
        said = one_line(error.stderr.decode(errors="replace"))
        raise GitError(f"{root}: git {arguments[0]} refuses: {said or 'no message'}") from None
    return done.stdout


def git_commit(root: Path) -> str:
    """The commit of the checkout, with `-dirty` when tracked files differ from it; `unknown` outside git.

    Generated files do not count: which data a run saw is in its data hash, not in its commit.
    """
    sources = (".", *(f":(exclude){name}" for name in _GENERATED))
    try:
        changed = git(root, "status", "--porcelain", "--untracked-files=no", "--", *sources)
        return git(root, "rev-parse", "HEAD") + ("-dirty" if changed else "")
    except GitError:
        return "unknown"
