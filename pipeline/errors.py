"""Errors a person can act on, and the one place that turns them into a line and an exit code."""

import errno
import io
import os
import re
import select
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from serving.errors import BundleError, SettingsError


class InputError(Exception):
    """Something the user gave is wrong.

    The message is one line: which file, key or row, what is wrong with it and what to do.
    """


_SHOWN = 200
"""Characters of a name that are shown before and after what is wrong with it."""
_UNFINISHED = re.compile(r"\.([^/]+)\.\w{8}\.partial")
"""What stands for a file while it is written (`pipeline.files.atomic_file`)."""
_ADVICE = {
    errno.ENOSPC: "the disk is full; free some space and run the command again",
    errno.EDQUOT: "the disk quota is used up; free some space and run the command again",
    errno.EACCES: "permission denied; make the folder writable for this user",
    errno.EPERM: "the operation is not permitted for this user; check the owner of the folder",
    errno.EROFS: "the file system is read-only; work in a folder that can be written",
    errno.EBUSY: "is a mount point or in use, and cannot be replaced; mount the folder above it instead",
    errno.EXDEV: "lies on another disk than the folder above it; make both one, or link the folder above",
    errno.EISDIR: "is a folder where a file is expected; move it away",
    errno.ENOTDIR: "is a file where a folder is expected; move it away",
    errno.EEXIST: "is in the way; move it away",
    errno.ENAMETOOLONG: "the name is too long; choose a shorter one",
    errno.ELOOP: "is a link that leads back to itself; remove it",
}


def describe(error: BaseException) -> str | None:
    """The line shown for an error, or None for one that is a defect of ours and deserves its traceback."""
    if isinstance(error, (InputError, BundleError, SettingsError)):
        return str(error)
    if isinstance(error, UnicodeEncodeError) and (name := undecodable_name(error.object, error.start)):
        return f"{name}: the name is not valid UTF-8; rename it, and run the command again"
    if isinstance(error, OSError) and error.errno in _ADVICE:
        place = f"{error.filename}: " if error.filename else ""
        return f"{place}{_ADVICE[error.errno]}"
    return None


def undecodable_name(text: str, start: int) -> str:
    """The name, escaped, that stands in `text` around a byte which is none of UTF-8; empty where there is no such byte.

    Python keeps such a byte of a file's name as a surrogate (PEP 383), which other libraries cannot write.
    """
    if not "\udc80" <= text[start] <= "\udcff":
        return ""
    before, after = (re.split(r"[\n\0\"<>]", part) for part in (text[:start], text[start:]))
    name = _UNFINISHED.sub(r"\1", before[-1][-_SHOWN:] + after[0][:_SHOWN])
    return name.encode("utf-8", "backslashreplace").decode()


@contextmanager
def os_errors_name(place: object) -> Iterator[None]:
    """Give an OSError that names no file (a full disk met in a write) the file or folder being written."""
    try:
        yield
    except OSError as error:
        if error.filename is None:
            error.filename = str(place)
        raise


def exit_with_line(function: Callable[[], None]) -> None:
    """Run `function`; on bad input print one line on stderr and exit with code 1 (130 when interrupted).

    Names of files that are not valid UTF-8 are escaped on standard output, as Python itself does on stderr.
    Where nobody reads the output any more (`| head`), it ends without a word, as other commands of a pipe do.
    Anything unforeseen keeps its traceback: hiding a defect of ours would help nobody.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        function()
        sys.stdout.flush()  # what is still held back would otherwise fail when Python ends, beyond our reach
    except KeyboardInterrupt:
        print("interrupted; nothing half-written is left behind", file=sys.stderr)
        sys.exit(130)
    except Exception as error:
        if isinstance(error, BrokenPipeError) and _output_is_closed():
            sys.exit(128 + signal.SIGPIPE)
        line = describe(error)
        if line is None:
            raise
        print(f"error: {line}", file=sys.stderr)
        sys.exit(1)


def _output_is_closed() -> bool:
    """Whether the reader of standard output has gone; what is still to be written is then dropped."""
    try:
        output = sys.stdout.fileno()
    except (OSError, ValueError):  # captured, as in a test
        return False
    state = select.poll()
    state.register(output, 0)
    if not state.poll(0):
        return False
    os.dup2(os.open(os.devnull, os.O_WRONLY), output)  # Python flushes once more when it ends
    return True
