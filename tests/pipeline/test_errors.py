"""What a command says, and how it exits, when it cannot go on."""

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.errors import InputError, exit_with_line, os_errors_name
from pipeline.files import atomic_file


def fail_with(error: BaseException) -> Callable[[], None]:
    def fail() -> None:
        raise error

    return fail


def test_bad_input_ends_in_one_line_and_code_1(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        exit_with_line(fail_with(InputError("params.yaml: train.epochs: must be positive")))
    assert caught.value.code == 1
    assert capsys.readouterr() == ("", "error: params.yaml: train.epochs: must be positive\n")


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (errno.ENOSPC, "the disk is full"),
        (errno.EDQUOT, "the disk quota is used up"),
        (errno.EACCES, "permission denied"),
        (errno.EROFS, "the file system is read-only"),
    ],
)
def test_a_disk_that_refuses_ends_in_one_line_with_the_files_name(
    number: int, reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        exit_with_line(fail_with(OSError(number, os.strerror(number), "reports/images.csv")))
    error = capsys.readouterr().err
    assert caught.value.code == 1
    assert error.startswith(f"error: reports/images.csv: {reason}")
    assert error.count("\n") == 1


def test_an_interruption_ends_in_one_line_and_code_130(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        exit_with_line(fail_with(KeyboardInterrupt()))
    assert caught.value.code == 130
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("error", [ValueError("a defect"), OSError(errno.EIO, "broken disk"), AssertionError()])
def test_a_defect_keeps_its_traceback(error: Exception, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(type(error)) as caught:
        exit_with_line(fail_with(error))
    assert caught.value is error
    assert capsys.readouterr().err == ""


def test_what_ends_well_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    exit_with_line(lambda: None)
    assert capsys.readouterr() == ("", "")


def test_an_error_that_names_a_file_keeps_its_name() -> None:
    with pytest.raises(OSError, match="gone") as caught, os_errors_name("target"):
        raise FileNotFoundError(errno.ENOENT, "gone", "source")
    assert caught.value.filename == "source"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full, which is always full")
def test_a_disk_that_is_really_full_is_told_with_the_files_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def copy_to_a_full_disk() -> None:
        with atomic_file(tmp_path / "images.npy") as partial:
            partial.unlink()
            partial.symlink_to("/dev/full")
            with partial.open("wb", buffering=0) as file:
                file.write(b"pixels")

    with pytest.raises(SystemExit):
        exit_with_line(copy_to_a_full_disk)
    assert capsys.readouterr().err.startswith(f"error: {tmp_path / 'images.npy'}: the disk is full")


def run_as_command(body: str, stdout: int) -> subprocess.CompletedProcess[str]:
    """`body`, an expression, as a command of its own that writes to `stdout`."""
    program = f"from pipeline.errors import exit_with_line\nexit_with_line(lambda: {body})"
    return subprocess.run(
        [sys.executable, "-c", program], stdout=stdout, stderr=subprocess.PIPE, text=True, check=False
    )


@pytest.mark.parametrize("body", ["print('short')", "print('long' * 100_000)"])
def test_a_command_whose_output_nobody_reads_ends_without_a_word(body: str) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    ended = run_as_command(body, writer)
    os.close(writer)
    assert (ended.stderr, ended.returncode) == ("", 141)


def test_a_broken_connection_elsewhere_keeps_its_traceback() -> None:
    ended = run_as_command("(_ for _ in ()).throw(BrokenPipeError('the server has gone'))", subprocess.PIPE)
    assert "Traceback" in ended.stderr
    assert "the server has gone" in ended.stderr


def test_text_that_is_no_name_and_cannot_be_written_is_a_defect_of_ours() -> None:
    with pytest.raises(UnicodeEncodeError):
        exit_with_line(lambda: print("\ud800".encode()))


def test_a_file_that_is_being_written_is_shown_by_its_own_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def write() -> None:
        with atomic_file(tmp_path / os.fsdecode(b"bad-\xff")) as partial:
            str(partial).encode()

    with pytest.raises(SystemExit):
        exit_with_line(write)
    said = f"error: {tmp_path}/bad-\\udcff: the name is not valid UTF-8; rename it, and run the command again\n"
    assert capsys.readouterr().err.encode("utf-8", "backslashreplace").decode() == said
