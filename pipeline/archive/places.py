"""Where answers are written: a folder, or a prefix of a bucket or container. A file is there whole or not at all."""

import contextlib
import io
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import IO, Any, Protocol, cast

import obstore

from pipeline.archive import object_stores
from pipeline.archive.addresses import FILE, OBJECTS, Address, parse
from pipeline.errors import InputError, os_errors_name
from pipeline.files import atomic_file


@dataclass(frozen=True)
class Written:
    """A file that is there: its name below the place, bytes, and seconds since 1970 of its writing."""

    name: str
    size: int
    at: float


class Place(Protocol):
    """A folder by whatever means; names are relative and separated by `/`."""

    @property
    def uri(self) -> str: ...
    def read(self, name: str) -> bytes | None:
        """The content of a file; None where there is none."""

    def write(self, name: str, content: bytes) -> None:
        """Write a file, over an older one."""

    def writing(self, name: str) -> AbstractContextManager[IO[bytes]]:
        """A file to write to, which is there when the block ends well."""

    def opened(self, name: str) -> AbstractContextManager[IO[bytes]]:
        """A file to read and seek in."""

    def names(self, folder: str) -> list[Written]:
        """The files in a folder, sorted by name; none where there is no folder."""

    def delete(self, names: Sequence[str]) -> None:
        """Remove files; those that are not there are passed over."""


def open_place(uri: str) -> Place:
    """The place at an address or path; nothing is made yet. InputError for DICOMweb, which cannot be written."""
    address = parse(uri)
    if address.scheme == FILE:
        return FolderPlace(address)
    if address.scheme in OBJECTS:
        return ObjectPlace(address)
    raise InputError(f"{address.uri}: cannot be written to; name a folder, s3:// or az://")


class FolderPlace:
    """A local folder."""

    def __init__(self, address: Address) -> None:
        self.uri, self._root = address.uri, address.file

    def read(self, name: str) -> bytes | None:
        try:
            return (self._root / name).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None

    def write(self, name: str, content: bytes) -> None:
        with self.writing(name) as file:
            file.write(content)

    @contextmanager
    def writing(self, name: str) -> Iterator[IO[bytes]]:
        target = self._root / name
        with atomic_file(target) as partial, os_errors_name(target), partial.open("wb") as file:
            yield file

    @contextmanager
    def opened(self, name: str) -> Iterator[IO[bytes]]:
        with (self._root / name).open("rb") as file:
            yield file

    def names(self, folder: str) -> list[Written]:
        found = []
        with contextlib.suppress(FileNotFoundError):
            for path in (self._root / folder).iterdir():
                if not path.name.startswith(".") and path.is_file():
                    facts = path.stat()
                    found.append(Written(f"{folder}/{path.name}", facts.st_size, facts.st_mtime))
        return sorted(found, key=lambda one: one.name)

    def delete(self, names: Sequence[str]) -> None:
        for name in names:
            path = self._root / name
            path.unlink(missing_ok=True)
            with contextlib.suppress(OSError):  # it holds further files
                path.parent.rmdir()


class ObjectPlace:
    """A prefix of a bucket or container."""

    def __init__(self, address: Address) -> None:
        self.uri, self._prefix = address.uri.rstrip("/"), address.path.strip("/")
        self._store = object_stores.open_store(address)

    def read(self, name: str) -> bytes | None:
        with object_stores.store_errors(self.uri):
            try:
                return bytes(self._store.get(self._key(name)).bytes())
            except FileNotFoundError:
                return None

    def write(self, name: str, content: bytes) -> None:
        with object_stores.store_errors(self.uri):
            self._store.put(self._key(name), content)

    @contextmanager
    def writing(self, name: str) -> Iterator[IO[bytes]]:
        with object_stores.store_errors(self.uri):
            # Its parts are put together when it is closed, which an error in the block must not do.
            target = obstore.open_writer(self._store, self._key(name))
            yield cast(IO[bytes], _Sink(target))
            target.close()

    @contextmanager
    def opened(self, name: str) -> Iterator[IO[bytes]]:
        with object_stores.store_errors(self.uri):
            yield cast(IO[bytes], io.BufferedReader(_Source(obstore.open_reader(self._store, self._key(name)))))

    def names(self, folder: str) -> list[Written]:
        cut = len(self._key("")) if self._prefix else 0
        found = []
        with object_stores.store_errors(self.uri):
            for page in obstore.list(self._store, self._key(folder), chunk_size=1000):
                found += [Written(one["path"][cut:], one["size"], one["last_modified"].timestamp()) for one in page]
        return sorted(found, key=lambda one: one.name)

    def delete(self, names: Sequence[str]) -> None:
        with object_stores.store_errors(self.uri), contextlib.suppress(FileNotFoundError):
            obstore.delete(self._store, [self._key(name) for name in names])

    def _key(self, name: str) -> str:
        return f"{self._prefix}/{name}" if self._prefix else name


class _Sink(io.RawIOBase):
    """A file of obstore as Python's own are: its `closed` is a method, which others take for true."""

    def __init__(self, target: Any) -> None:
        self._target = target

    def writable(self) -> bool:
        return True

    def write(self, content: Any) -> int:
        self._target.write(bytes(content))
        return len(content)


class _Source(io.RawIOBase):
    """The same for reading."""

    def __init__(self, source: Any) -> None:
        self._source = source

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        content = bytes(self._source.read(len(buffer)))
        buffer[: len(content)] = content
        return len(content)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return int(self._source.seek(offset, whence))

    def tell(self) -> int:
        return int(self._source.tell())
