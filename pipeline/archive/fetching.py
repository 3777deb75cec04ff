"""The bytes of one image, wherever it lies, as long as it still is the image that the manifest lists."""

import os
import stat
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from obstore import exceptions
from obstore.store import ObjectStore

from pipeline.archive import object_stores
from pipeline.archive.addresses import FILE, OBJECTS, Address, Roots, parse
from pipeline.archive.entries import Entry, file_etag
from pipeline.errors import InputError
from pipeline.late import late
from serving.errors import ImageError, one_line
from serving.scoring import MAX_BYTES

if TYPE_CHECKING:
    from pipeline.archive import web
else:
    web = late("pipeline.archive.web")

CHANGED = "changed"
"""Code of a row whose image is no longer the one that the manifest lists."""
_CHANGED = "the image was changed after the manifest was made; make a new manifest"
_MISSING = "there is no such image any more"


class Fetcher:
    """Reads images below the given roots, from any number of threads."""

    def __init__(self, roots: Roots) -> None:
        self._roots = roots
        self._folders = [(root, os.path.realpath(root.file)) for root in roots.allowed if root.scheme == FILE]
        self._lock = threading.Lock()
        self._stores: dict[tuple[str, str], ObjectStore] = {}

    def fetch(self, entry: Entry) -> bytes:
        """The bytes of an image; ImageError `not_allowed`, `missing`, `unreadable`, `too_large` or `changed`."""
        try:
            address = parse(entry.uri)
            self._roots.check(address)
        except InputError:  # whose text names the address, which may identify a patient
            raise ImageError("not_allowed", "its address lies below none of the roots; allow it with --root") from None
        if entry.size is not None and entry.size > MAX_BYTES:
            raise too_large()
        if address.scheme == FILE:
            return self._file(address, entry.etag)
        if address.scheme in OBJECTS:
            return self._object(address, entry.etag)
        return web.fetch(address, self._roots)

    def _file(self, address: Address, etag: str) -> bytes:
        tops = [real for root, real in self._folders if address.below(root)]
        try:
            # Without waiting for the other end of a pipe.
            handle = os.open(address.file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError:
            raise ImageError("missing", _MISSING) from None
        except OSError as error:
            raise ImageError("unreadable", f"the file cannot be read ({error.strerror or error})") from None
        with os.fdopen(handle, "rb", buffering=0) as file:
            # Of what was opened, not of the name, which another process may have turned into a link since.
            real = os.path.realpath(f"/proc/self/fd/{file.fileno()}")
            if not any(Path(real).is_relative_to(top) for top in tops):
                raise ImageError("not_allowed", "it is a link that leads out of the root")
            facts = os.fstat(file.fileno())
            if not stat.S_ISREG(facts.st_mode):
                raise ImageError("unreadable", "it is no regular file")
            if etag and etag != file_etag(facts):
                raise ImageError(CHANGED, _CHANGED)
            if facts.st_size > MAX_BYTES:
                raise too_large()
            try:
                return file.readall()
            except OSError as error:
                raise ImageError("unreadable", f"the file cannot be read ({error.strerror or error})") from None

    def _object(self, address: Address, etag: str) -> bytes:
        try:
            found = self._store(address).get(address.path, options={"if_match": f'"{etag}"'} if etag else {})
            if found.meta["size"] > MAX_BYTES:
                raise too_large()
            return bytes(found.bytes())
        except (FileNotFoundError, exceptions.NotFoundError):
            raise ImageError("missing", _MISSING) from None
        except exceptions.PreconditionError:
            raise ImageError(CHANGED, _CHANGED) from None
        except InputError as error:
            raise ImageError("unreadable", one_line(error)) from None
        except (exceptions.BaseError, OSError) as error:
            raise ImageError("unreadable", f"the store does not give it ({object_stores.reason(error)})") from None

    def _store(self, address: Address) -> ObjectStore:
        key = address.scheme, address.place
        with self._lock:
            if key not in self._stores:
                self._stores[key] = object_stores.open_store(address)
            return self._stores[key]


def too_large() -> ImageError:
    """The error for more bytes than any radiograph has."""
    return ImageError("too_large", f"the file is larger than {MAX_BYTES >> 20} MiB")
