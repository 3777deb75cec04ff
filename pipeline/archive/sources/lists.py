"""A list of addresses, one a line."""

import itertools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pipeline.archive.addresses import FILE, OBJECTS, Address, Roots, local_path, parse
from pipeline.archive.entries import Entry, dicom_entry
from pipeline.archive.sources import objects
from pipeline.archive.sources.folders import file_entry
from pipeline.errors import InputError

_SIDE_BY_SIDE = 32
"""Objects that are asked for at the same time."""


def list_lines(path: Path, roots: Roots) -> Iterator[Entry]:
    """The entries of a text file with one path or address a line, in its order; empty lines and `# ...` are left out.

    Relative paths start at the list's folder. InputError, with the line, for an address that is none, lies below no
    root, or has nothing behind it.
    """
    try:
        # Editors of Windows begin a file with a mark (BOM), which is no part of the first name.
        file = local_path(path).open(encoding="utf-8-sig", errors="surrogateescape")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from None
    with file, ThreadPoolExecutor(_SIDE_BY_SIDE, "head") as pool:
        numbered = ((number, line.strip()) for number, line in enumerate(file, start=1))
        given = ((number, line) for number, line in numbered if line and not line.startswith("#"))
        for some in iter(lambda: list(itertools.islice(given, _SIDE_BY_SIDE * 8)), []):
            yield from pool.map(lambda pair: _entry(path, pair[0], pair[1], roots), some)


def _entry(path: Path, number: int, line: str, roots: Roots) -> Entry:
    try:
        address = parse(line, path.parent)
        roots.check(address)
        if address.scheme == FILE:
            return file_entry(address)
        return objects.object_entry(address) if address.scheme in OBJECTS else _web_entry(address)
    except InputError as error:
        raise InputError(f"{path}, line {number}: {error}") from None


def _web_entry(address: Address) -> Entry:
    """Of the WADO-RS address of an instance (PS3.18, section 10.4.1)."""
    parts = address.path.split("/")
    if parts[-2:-1] != ["instances"] or parts[-6:-5] != ["studies"] or parts[-4:-3] != ["series"]:
        raise InputError(f"{address.uri}: is no instance; .../studies/UID/series/UID/instances/UID is one")
    return dicom_entry(address.uri, parts[-1])
