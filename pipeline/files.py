"""Where the project's files are, and how they are written so that a killed process leaves no half of one."""

import fcntl
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipeline.errors import InputError, os_errors_name


def project_root(start: Path | None = None) -> Path:
    """The folder that holds params.yaml, from the current folder upwards.

    Raises InputError outside a checkout of the project.
    """
    here = (start or Path.cwd()).resolve()
    for folder in (here, *here.parents):
        if (folder / "params.yaml").is_file() and (folder / "dvc.yaml").is_file():
            return folder
    raise InputError(f"{here}: no params.yaml here or above; run the command inside a checkout of the project")


def home_root(start: Path | None = None) -> Path:
    """The root of the person's own checkout.

    The same as `project_root`, except inside the copy that `dvc exp run --temp` (or `--queue`) makes
    under `.dvc/tmp/exps`: what must outlive the copy (the MLflow database, checkpoints) belongs here.
    """
    root = project_root(start)
    parts = root.parts
    for i in range(len(parts) - 2):
        if parts[i : i + 3] == (".dvc", "tmp", "exps"):
            return Path(*parts[:i])
    return root


def make_folder(folder: Path) -> None:
    """Make a folder and those above it; InputError where there is no place for it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileNotFoundError:
        raise InputError(f"{folder}: cannot be made; check the path") from None
    except FileExistsError:
        raise InputError(f"{folder}: is a file where a folder is expected; name another place") from None


def require_replaceable(folder: Path, mark: str, what: str, names: Collection[str] | None = None) -> None:
    """Raise InputError where `folder` holds something that a command, which replaces it whole, did not write.

    `mark` is a file that tells `what` (a bundle, say) from any other folder; with `names` it holds nothing else.
    """
    if not folder.exists():
        return
    if not folder.is_dir():
        raise InputError(f"{folder}: is no folder; name another place")
    found = sorted(path.name for path in folder.iterdir())
    if found and not (folder / mark).is_file():
        raise InputError(f"{folder}: holds something else than {what} of this command; name another folder")
    strange = [name for name in found if names is not None and name not in names]
    if strange:
        several = f" and {len(strange) - 1} more" if len(strange) > 1 else ""
        raise InputError(f"{folder}: would be replaced, with {strange[0]}{several} in it; move that elsewhere first")


@contextmanager
def atomic_file(target: Path) -> Iterator[Path]:
    """Yield a path beside `target`; what was written there replaces `target` when the block ends well.

    Raises InputError where `target` can be no file: a folder, and a device or a pipe, which are never replaced.
    """
    if target.exists() and not target.is_file():
        what = "a folder" if target.is_dir() else "a device or a pipe"
        raise InputError(f"{target}: is {what} where a file is expected; name another place")
    make_folder(target.parent)
    with os_errors_name(target):
        with _beside(target):
            handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".partial", dir=target.parent)
        os.close(handle)
        partial = Path(name)
        try:
            partial.chmod(0o644)
            yield partial
            partial.replace(target)
        finally:
            partial.unlink(missing_ok=True)


@contextmanager
def atomic_folder(target: Path) -> Iterator[Path]:
    """Yield an empty folder beside `target`, swapped in for it when the block ends well.

    What an earlier, killed process left aside is removed first; `target` keeps its old content until the
    swap, and when the block raises. A link stays, and leads to the new content. Raises InputError for what is never
    replaced: a file, a device or a pipe, and the current folder or one above it.
    """
    named, target = target, Path(os.path.realpath(target))
    if os.path.lexists(target) and not target.is_dir():
        raise InputError(f"{named}: is no folder, and one is expected there; name another place")
    if Path.cwd().is_relative_to(target):
        raise InputError(f"{named}: is the current folder or one above it, and would be replaced; name another place")
    partial = target.with_name(f".{target.name}.partial")
    retired = target.with_name(f".{target.name}.retired")
    make_folder(target.parent)
    with os_errors_name(named):
        with _beside(named):
            if retired.exists() and not target.exists():
                retired.rename(target)  # a process died between the two renames below
            for leftover in (partial, retired):
                shutil.rmtree(leftover, ignore_errors=True)
            partial.mkdir()
        try:
            yield partial
            if target.exists():
                target.rename(retired)
            partial.rename(target)
        finally:
            if retired.exists() and not target.exists():
                retired.rename(target)  # the second of the two renames failed
            for leftover in (partial, retired):
                shutil.rmtree(leftover, ignore_errors=True)


@contextmanager
def _beside(target: Path) -> Iterator[None]:
    """Let errors of what is made beside `target` name `target`; places like /proc report a new file as not found."""
    try:
        yield
    except FileNotFoundError:
        raise InputError(f"{target}: cannot be made; check the path") from None
    except OSError as error:
        error.filename = str(target)
        raise


def write_text(target: Path, text: str) -> None:
    """Write a UTF-8 text file whole or not at all."""
    with atomic_file(target) as partial:
        partial.write_text(text, encoding="utf-8", newline="\n")


def write_json(target: Path, value: Any) -> None:
    """Write JSON that is the same for the same value: sorted keys, two spaces, no NaN."""
    write_text(target, json.dumps(value, indent=2, sort_keys=True, allow_nan=False, ensure_ascii=False) + "\n")


def read_json(path: Path, required: Iterable[str] = ()) -> Any:
    """Read JSON; InputError names the file when it is missing, broken, or an object that lacks a required key."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: not found; `dvc repro` writes it") from None
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InputError(f"{path}: is not valid JSON ({error}); make it again with `dvc repro`") from None
    missing = [key for key in required if not isinstance(value, dict) or key not in value]
    if missing:
        raise InputError(f"{path}: key {', '.join(missing)} is missing; make it again with `dvc repro`")
    return value


@contextmanager
def locked(path: Path, message: str) -> Iterator[None]:
    """Hold the lock file `path`; InputError with `message` when another process holds it.

    The system releases the lock when its process dies.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise InputError(f"{path}: {message}") from None
        yield


def sha256_file(path: Path) -> str:
    """Hex sha256 of a file's bytes, read in blocks."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_files(folder: Path, files: Iterable[Path]) -> str:
    """One hex sha256 over the relative names and bytes of several files, whatever their order."""
    digest = hashlib.sha256()
    for path in sorted(files):
        digest.update(f"{path.relative_to(folder).as_posix()}\0{sha256_file(path)}\n".encode())
    return digest.hexdigest()
