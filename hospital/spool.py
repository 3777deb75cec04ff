"""Files of the gateway: written beside their place, fsynced and renamed, so that a row never names half a file."""

import hashlib
import os
import shutil
import time
from collections.abc import Iterable
from pathlib import Path

from hospital.errors import HospitalError

INCOMING, RESULTS = "incoming", "results"
_PARTIAL = "partial"
_OLD_SECONDS = 86400.0
"""Longer than an object arrives, or waits for its row; the clocks of several machines differ by less."""
MOST_READ = 256 << 20
"""Bytes of a file that are brought into memory: `serving.imaging.decode.MAX_PIXELS` of 16 bits take 171 MiB."""


class Spool:
    """A folder of mode 0700 with what was received and what was made; names are digests and UIDs of this gateway."""

    def __init__(self, root: Path, sharer: str = "") -> None:
        """`sharer` is the gateway's name where others have the same spool, empty where it is its own."""
        self.root = root
        self.is_shared = bool(sharer)
        self.partial = root / _PARTIAL / sharer

    def prepare(self) -> None:
        """Make the folders; HospitalError if they cannot be made."""
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            self.root.chmod(0o700)
            for folder in (self.root / _PARTIAL, self.partial, self.root / INCOMING, self.root / RESULTS):
                folder.mkdir(exist_ok=True, mode=0o700)
            self._make_shelves()
        except OSError as error:
            place = error.filename or self.root
            raise HospitalError(f"spool: {place}: {error.strerror}; name a folder of its own") from error

    def _make_shelves(self) -> None:
        """Make all folders that objects come into: made one by one, each would hold up the first that it is for."""
        incoming = self.root / INCOMING
        missing = {f"{number:02x}" for number in range(256)} - {folder.name for folder in incoming.iterdir()}
        for name in missing:
            (incoming / name).mkdir(exist_ok=True, mode=0o700)
        if missing:
            _sync_folder(incoming)

    def path(self, name: str) -> Path:
        """Where a file of the spool lies."""
        return self.root / name

    def read(self, name: str) -> bytes:
        """A file's bytes, of a larger one the first 256 MiB and one more; FileNotFoundError where it is gone."""
        with self.path(name).open("rb") as file:
            return file.read(MOST_READ + 1)

    def free_bytes(self) -> int:
        """Space left for this process."""
        return shutil.disk_usage(self.root).free

    def adopt(self, partial: Path, kind: str, name: str) -> str:
        """Make a file that lies in `partial` durable under `kind`, and give its name in the spool.

        When this returns, the bytes and the folder's entry are on the disk. OSError as the file system says.
        """
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        folder = self.root / kind / name[:2]
        if not folder.is_dir():
            folder.mkdir(exist_ok=True, mode=0o700)
            _sync_folder(folder.parent)
        partial.replace(folder / name)
        _sync_folder(folder)
        return f"{kind}/{name[:2]}/{name}"

    def write(self, content: bytes, kind: str, name: str) -> str:
        """Write a file as `adopt` does, and give its name in the spool."""
        partial = self.partial / f"{os.getpid()}-{os.urandom(8).hex()}"
        try:
            partial.write_bytes(content)
            return self.adopt(partial, kind, name)
        finally:
            partial.unlink(missing_ok=True)

    def clear_partial(self) -> int:
        """Remove what an earlier, killed process of this gateway left half-written; how many files there were."""
        return _removed(path for path in self.partial.iterdir() if path.is_file())

    def clear_forsaken(self) -> int:
        """Remove what anybody left half-written a day ago; how many files there were.

        Each gateway clears its own when it starts; this is for one that never does. Who writes changes the time.
        """
        return _removed(path for path in (self.root / _PARTIAL).rglob("*") if path.is_file() and _is_old(path))

    def names(self, kind: str, old_only: bool = False) -> list[str]:
        """Names in the spool of all files of a kind, or of those that nobody can be about to name in a row."""
        found = (self.root / kind).glob("*/*")
        return [path.relative_to(self.root).as_posix() for path in found if not old_only or _is_old(path)]

    def remove(self, name: str) -> None:
        """Remove a file, if it is still there."""
        self.path(name).unlink(missing_ok=True)


def file_digest(path: Path) -> str:
    """Hex sha256 of a file, read in blocks."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _removed(leftovers: Iterable[Path]) -> int:
    count = 0
    for leftover in list(leftovers):
        leftover.unlink(missing_ok=True)
        count += 1
    return count


def _is_old(path: Path) -> bool:
    """Whether a file was last written a day ago or more; one that has gone is not."""
    try:
        return path.stat().st_mtime < time.time() - _OLD_SECONDS
    except FileNotFoundError:
        return False


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
