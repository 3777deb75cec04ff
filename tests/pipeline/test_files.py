"""Files that are replaced whole or not at all, and the project's root."""

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.errors import InputError
from pipeline.files import (
    atomic_file,
    atomic_folder,
    home_root,
    project_root,
    read_json,
    sha256_file,
    sha256_files,
    write_json,
    write_text,
)

INTERRUPTIONS = [RuntimeError("a defect"), KeyboardInterrupt(), SystemExit(1), OSError(errno.ENOSPC, "full")]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def stop_half_way(path: Path, interruption: BaseException) -> None:
    path.write_text("half of")
    raise interruption


def old_folder(path: Path) -> Path:
    path.mkdir()
    (path / "file").write_text("old")
    return path


# Files


def test_a_file_is_written(tmp_path: Path) -> None:
    with atomic_file(tmp_path / "new" / "file") as partial:
        partial.write_text("new")
    assert (tmp_path / "new" / "file").read_text() == "new"


def test_a_written_file_can_be_read_by_others(tmp_path: Path) -> None:
    write_text(tmp_path / "file", "new")
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("interruption", INTERRUPTIONS, ids=repr)
def test_a_file_keeps_its_content_when_its_writer_stops(interruption: BaseException, tmp_path: Path) -> None:
    target = tmp_path / "file"
    target.write_text("old")
    with pytest.raises(type(interruption)), atomic_file(target) as partial:
        stop_half_way(partial, interruption)
    assert target.read_text() == "old"
    assert names(tmp_path) == ["file"]


def test_a_full_disk_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="full") as caught, atomic_file(tmp_path / "file"):
        raise OSError(errno.ENOSPC, "full")
    assert caught.value.filename == str(tmp_path / "file")


# Folders


def test_a_folder_is_written(tmp_path: Path) -> None:
    with atomic_folder(tmp_path / "new" / "folder") as partial:
        (partial / "file").write_text("new")
    assert names(tmp_path / "new") == ["folder"]
    assert names(tmp_path / "new" / "folder") == ["file"]


def test_a_folder_is_replaced_whole(tmp_path: Path) -> None:
    target = old_folder(tmp_path / "folder")
    with atomic_folder(target) as partial:
        (partial / "other").write_text("new")
    assert names(target) == ["other"]
    assert names(tmp_path) == ["folder"]


@pytest.mark.parametrize("interruption", INTERRUPTIONS, ids=repr)
def test_a_folder_keeps_its_content_when_its_writer_stops(interruption: BaseException, tmp_path: Path) -> None:
    target = old_folder(tmp_path / "folder")
    with pytest.raises(type(interruption)), atomic_folder(target) as partial:
        stop_half_way(partial / "file", interruption)
    assert (target / "file").read_text() == "old"
    assert names(tmp_path) == ["folder"]


@pytest.mark.parametrize("interruption", [KeyboardInterrupt(), PermissionError(errno.EACCES, "no")], ids=repr)
def test_a_folder_keeps_its_content_when_the_swap_stops_half_way(
    interruption: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = old_folder(tmp_path / "folder")
    rename = Path.rename

    def rename_old_only(self: Path, to: Path) -> Path:
        if self.name.endswith(".partial"):
            raise interruption
        return rename(self, to)

    monkeypatch.setattr(Path, "rename", rename_old_only)
    with pytest.raises(type(interruption)), atomic_folder(target):
        pass
    assert (target / "file").read_text() == "old"
    assert names(tmp_path) == ["folder"]


def test_a_folder_retired_by_a_killed_process_is_recovered(tmp_path: Path) -> None:
    old_folder(tmp_path / ".folder.retired")
    with pytest.raises(RuntimeError), atomic_folder(tmp_path / "folder"):
        raise RuntimeError("fails again")
    assert (tmp_path / "folder" / "file").read_text() == "old"


def test_what_a_killed_process_left_aside_is_removed(tmp_path: Path) -> None:
    old_folder(tmp_path / ".folder.partial")
    old_folder(tmp_path / ".folder.retired")
    target = old_folder(tmp_path / "folder")
    with atomic_folder(target) as partial:
        assert names(partial) == []
    assert names(tmp_path) == ["folder"]


def test_a_killed_process_leaves_the_old_folder(tmp_path: Path) -> None:
    target = old_folder(tmp_path / "folder")
    code = (
        "import os, pathlib, signal, sys; from pipeline.files import atomic_folder\n"
        "with atomic_folder(pathlib.Path(sys.argv[1])) as partial:\n"
        "    (partial / 'file').write_text('half of')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)"
    )
    root = str(Path(__file__).parents[2])
    killed = subprocess.run(
        [sys.executable, "-c", code, str(target)], env={**os.environ, "PYTHONPATH": root}, check=False
    )
    assert killed.returncode == -9
    assert (target / "file").read_text() == "old"


# JSON and hashes


def test_json_is_the_same_for_the_same_value(tmp_path: Path) -> None:
    write_json(tmp_path / "first", {"b": 1, "a": "ü"})
    write_json(tmp_path / "second", {"a": "ü", "b": 1})
    assert (tmp_path / "first").read_bytes() == '{\n  "a": "ü",\n  "b": 1\n}\n'.encode()
    assert (tmp_path / "second").read_bytes() == (tmp_path / "first").read_bytes()


def test_json_holds_no_nan(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "file", float("nan"))
    assert names(tmp_path) == []


@pytest.mark.parametrize(("content", "reason"), [(None, "not found"), (b"{", "not valid JSON"), (b"\xff", "not valid")])
def test_json_that_cannot_be_read_is_named(content: bytes | None, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=reason) as caught:
        read_json(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "dvc repro" in str(caught.value)


def test_the_hash_of_files_does_not_depend_on_their_order(tmp_path: Path) -> None:
    files = [tmp_path / "a", tmp_path / "b"]
    for path in files:
        path.write_text(path.name)
    assert sha256_files(tmp_path, files) == sha256_files(tmp_path, files[::-1])


@pytest.mark.parametrize("change", [lambda a, b: a.write_text("other"), lambda a, b: a.rename(b.with_name("c"))])
def test_the_hash_of_files_depends_on_names_and_bytes(change: Callable[[Path, Path], object], tmp_path: Path) -> None:
    a, b = tmp_path / "a", tmp_path / "b"
    a.write_text("a")
    b.write_text("b")
    before = sha256_files(tmp_path, [a, b])
    change(a, b)
    assert sha256_files(tmp_path, sorted(tmp_path.iterdir())) != before


def test_the_hash_of_a_file_is_that_of_its_bytes(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    assert sha256_file(tmp_path / "empty").startswith("e3b0c44298fc1c14")


# The root


def checkout(path: Path) -> Path:
    path.mkdir(parents=True)
    (path / "params.yaml").touch()
    (path / "dvc.yaml").touch()
    return path


def test_the_root_is_found_from_a_folder_below_it(tmp_path: Path) -> None:
    root = checkout(tmp_path / "root")
    (root / "pipeline" / "cli").mkdir(parents=True)
    assert project_root(root / "pipeline" / "cli") == root


def test_the_root_is_looked_for_from_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(checkout(tmp_path / "root"))
    assert project_root() == tmp_path / "root"


def test_outside_a_checkout_there_is_no_root(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="run the command inside a checkout"):
        project_root(tmp_path)


def test_the_home_of_a_checkout_is_its_root(tmp_path: Path) -> None:
    assert home_root(checkout(tmp_path / "root")) == tmp_path / "root"


@pytest.mark.parametrize("copy", ["tmpabc", "standalone/tmpabc"])
def test_the_home_of_an_experiments_copy_is_the_outer_project(copy: str, tmp_path: Path) -> None:
    outer = checkout(tmp_path / "root")
    inner = checkout(outer / ".dvc" / "tmp" / "exps" / copy)
    assert project_root(inner) == inner
    assert home_root(inner) == outer
