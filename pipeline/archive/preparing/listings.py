"""Where the images of a data set lie: below data/images/, or where the manifest in data/ says."""

from pathlib import Path
from typing import Protocol

from pipeline.archive.addresses import FILE, WEB, Address, Roots, parse
from pipeline.archive.entries import Entry, file_etag
from pipeline.archive.manifest import Manifest
from pipeline.data.engine import MANIFEST
from pipeline.data.layout import Dataset
from pipeline.errors import InputError

_FOLDER = "images/"


class Listing(Protocol):
    """The images of a data set by their `file` in labels.csv."""

    @property
    def roots(self) -> Roots:
        """Where they may lie."""

    def files(self) -> list[str]:
        """Every file that there is, sorted."""

    def entry(self, file: str) -> Entry:
        """Where a file lies, or with an empty `uri` that it does not; its name is the `id`."""

    def state(self, file: str) -> str:
        """What changes when the file does; empty where it is missing."""


def listing_of(data: Dataset) -> Listing:
    """That of a data set; InputError where it has both a folder with images and a manifest."""
    path = data.folder / MANIFEST
    if not path.exists():
        return FolderListing(data)
    if data.image_files():
        raise InputError(f"{data.folder}: holds images/ and {MANIFEST}; remove the one that is not meant")
    return ManifestListing(path)


class FolderListing:
    """The files below data/images/, at the same path for every process; links are followed, as DVC makes them."""

    def __init__(self, data: Dataset) -> None:
        self._data, self._folder = data, data.folder.absolute()
        self.roots = Roots((Address(FILE, "", ""),))

    def files(self) -> list[str]:
        return [path.relative_to(self._data.folder).as_posix() for path in self._data.image_files()]

    def entry(self, file: str) -> Entry:
        # Without an etag: the number of an inode need not be the same on every machine.
        return Entry(file, Address(FILE, "", str(self._folder / file).lstrip("/")).uri, None, "")

    def state(self, file: str) -> str:
        try:
            return file_etag((self._folder / file).stat())
        except OSError:
            return ""


class ManifestListing:
    """The images of a manifest: `images/` and the path below the root that it was made of are the file's name."""

    def __init__(self, path: Path) -> None:
        manifest = Manifest(path)
        self._path = path
        self.roots = Roots.of(manifest.roots)
        if any(root.scheme in WEB for root in self.roots.allowed):
            raise InputError(f"{path}: lists a DICOMweb server; images for training lie in a folder, s3:// or az://")
        self._entries: dict[str, Entry] = {}
        for entries in manifest.blocks(0, manifest.rows, 1 << 14):
            for found in entries:
                file = self._name(parse(found.uri))
                if file in self._entries:
                    raise InputError(f"{path}: {self._entries[file].uri} and {found.uri} are both {file}; list one")
                self._entries[file] = Entry(file, found.uri, found.size, found.etag)

    def _name(self, address: Address) -> str:
        root = next((one for one in self.roots.allowed if address.below(one)), None)
        if root is None:
            raise InputError(f"{self._path}: {address.uri} lies below none of its roots; make the manifest again")
        return _FOLDER + address.path.removeprefix(root.path.rstrip("/")).lstrip("/")

    def files(self) -> list[str]:
        return sorted(self._entries)

    def entry(self, file: str) -> Entry:
        return self._entries.get(file) or Entry(file, "", None, "")

    def state(self, file: str) -> str:
        found = self._entries.get(file)
        return found.etag if found else ""
