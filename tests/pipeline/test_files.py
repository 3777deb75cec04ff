"""Files that are replaced whole or not at all, and the project's root."""

import errno
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import InputError, exit_with_line
from pipeline.files import (
    atomic_file,
    atomic_folder,
    home_root,
    project_root,
    read_json,
    require_replaceable,
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


# Places that people name


@pytest.fixture(params=["a pipe", "a socket", "a link to a pipe"])
def special(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """What a rename would take away for good, as it would `/dev/null`."""
    path = tmp_path / "special"
    if request.param == "a socket":
        with socket.socket(socket.AF_UNIX) as one:
            one.bind(os.path.relpath(path))  # an address has at most 107 bytes
    elif request.param == "a pipe":
        os.mkfifo(path)
    else:
        os.mkfifo(tmp_path / "pipe")
        path.symlink_to("pipe")
    return path


@pytest.mark.parametrize("writing", [atomic_file, atomic_folder])
def test_a_device_a_pipe_and_a_socket_are_never_replaced(writing: Callable[..., Any], special: Path) -> None:
    def facts() -> list[tuple[int, ...]]:  # not the last access: looking at a link is one
        return [(one.st_mode, one.st_ino, one.st_size, one.st_mtime_ns) for one in (special.lstat(), special.stat())]

    before = facts()
    with pytest.raises(InputError, match=r"is expected|is a device"), writing(special):
        pytest.fail("began all the same")
    assert facts() == before


@pytest.mark.parametrize("writing", [atomic_file, atomic_folder])
@pytest.mark.parametrize("place", ["/proc/x", "/proc/self/x", "/proc/x/y"])
def test_a_place_that_takes_nothing_new_is_named(writing: Callable[..., Any], place: str) -> None:
    with pytest.raises(InputError, match=f"^{place.removesuffix('/y')}(/y)?: cannot be made"), writing(Path(place)):
        pytest.fail("began all the same")


@pytest.mark.parametrize("writing", [atomic_file, atomic_folder])
@pytest.mark.parametrize("length", [250, 300])
def test_a_name_that_is_too_long_ends_in_one_line(
    writing: Callable[..., Any], length: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / ("a" * length)

    def write() -> None:
        with writing(target):
            pytest.fail("began all the same")

    with pytest.raises(SystemExit):
        exit_with_line(write)
    assert capsys.readouterr().err == f"error: {target}: the name is too long; choose a shorter one\n"


@pytest.mark.parametrize("writing", [atomic_file, atomic_folder])
def test_a_folder_without_rights_is_told_by_the_name_that_was_given(
    writing: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "no", str(tmp_path / ".target.partial"))

    monkeypatch.setattr(Path, "mkdir", lambda self, *_, **__: refuse() if self.name.endswith(".partial") else None)
    monkeypatch.setattr(tempfile, "mkstemp", refuse)
    with pytest.raises(PermissionError) as caught, writing(tmp_path / "target"):
        pytest.fail("began all the same")
    assert caught.value.filename == str(tmp_path / "target")


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("old")
    with pytest.raises(InputError, match="is no folder"), atomic_folder(tmp_path / "file"):
        pytest.fail("began all the same")
    assert (tmp_path / "file").read_text() == "old"


@pytest.mark.parametrize("there", [True, False])
def test_a_link_to_a_folder_stays_and_leads_to_the_new_content(there: bool, tmp_path: Path) -> None:
    if there:
        old_folder(tmp_path / "folder")
    (tmp_path / "link").symlink_to("folder")
    with atomic_folder(tmp_path / "link") as partial:
        (partial / "other").write_text("new")
    assert (tmp_path / "link").is_symlink()
    assert names(tmp_path) == ["folder", "link"]
    assert names(tmp_path / "folder") == ["other"]


def test_a_link_that_leads_back_to_itself_is_named(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("link")
    with pytest.raises(InputError, match="link: is no folder"), atomic_folder(tmp_path / "link"):
        pytest.fail("began all the same")


@pytest.mark.parametrize("place", [".", "..", "../here"])
def test_the_folder_that_a_person_is_in_is_not_replaced(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(InputError, match="is the current folder"), atomic_folder(Path(place)):
        pytest.fail("began all the same")


@pytest.mark.parametrize(
    ("held", "names_", "reason"),
    [
        (["thesis.txt"], None, "holds something else than a bundle"),
        (["mark", "thesis.txt"], {"mark"}, "with thesis.txt in it"),
        (["mark", ".htaccess", "b"], {"mark"}, "with .htaccess and 1 more in it"),
    ],
)
def test_what_a_command_did_not_write_is_not_replaced(
    held: list[str], names_: set[str] | None, reason: str, tmp_path: Path
) -> None:
    for name in held:
        (tmp_path / name).touch()
    with pytest.raises(InputError, match=reason):
        require_replaceable(tmp_path, "mark", "a bundle", names_)


def test_what_a_command_wrote_and_what_is_empty_or_new_may_be_replaced(tmp_path: Path) -> None:
    require_replaceable(tmp_path / "new", "mark", "a bundle", {"mark"})
    require_replaceable(tmp_path, "mark", "a bundle", {"mark"})
    (tmp_path / "mark").touch()
    require_replaceable(tmp_path, "mark", "a bundle", {"mark"})


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
