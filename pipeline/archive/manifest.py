"""The list of an archive's images, one row each, as Parquet: what a scoring has to answer, and may read."""

import itertools
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.archive.addresses import FILE, OBJECTS, Roots, local_path, parse
from pipeline.archive.entries import Entry
from pipeline.archive.parquet import UNREADABLE, parquet_errors
from pipeline.archive.sources import folders, inventories, lists, objects
from pipeline.errors import InputError, os_errors_name
from pipeline.files import atomic_file, sha256_file
from pipeline.late import late
from serving.errors import one_line

if TYPE_CHECKING:
    from pipeline.archive import web
else:
    web = late("pipeline.archive.web")

SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("uri", pa.string(), nullable=False),
        pa.field("size", pa.int64()),
        pa.field("etag", pa.string(), nullable=False),
    ]
)
VERSION = 1
_KEY = b"fracture.manifest"
_GROUP = 1 << 14
"""Rows of a row group: what is held at once."""


@dataclass(frozen=True)
class Sources:
    """What a manifest is made of; InputError where it is nothing, or may not be read."""

    named: tuple[str, ...]
    lists: tuple[Path, ...] = ()
    inventory: str = ""
    roots: tuple[str, ...] = ()  # beside those that are named: for lists, inventories and private hosts
    modalities: tuple[str, ...] = ()  # of DICOMweb; none means all

    def allowed(self) -> Roots:
        """The allow-list: what is named, and what `roots` adds."""
        if not (self.named or self.lists or self.inventory):
            raise InputError(
                "nothing to list; name a folder, s3://BUCKET/PREFIX, az://CONTAINER/PREFIX or https://HOST"
            )
        if (self.lists or self.inventory) and not (self.roots or self.named):
            raise InputError("a list or inventory needs --root: below which folder, bucket or host may its images lie?")
        return Roots.of(self.named, self.roots)

    def names(self) -> list[str]:
        """What is listed, as a person named it."""
        return [*(parse(text).uri for text in self.named), *map(str, self.lists), *filter(None, [self.inventory])]

    def entries(self, passed_over: folders.PassedOver) -> Iterator[Entry]:
        """Every image, in the order in which the sources are named."""
        roots = self.allowed()
        for text in self.named:
            address = parse(text)
            if address.scheme == FILE:
                yield from folders.list_folder(address, passed_over)
            elif address.scheme in OBJECTS:
                yield from objects.list_objects(address, passed_over)
            else:
                yield from web.list_instances(address, roots, self.modalities)
        for path in self.lists:
            yield from lists.list_lines(path, roots)
        if self.inventory:
            yield from inventories.list_inventory(self.inventory, roots, passed_over)


@dataclass(frozen=True)
class Written:
    """How many images a manifest lists, of how many bytes as far as they are known, and what was passed over."""

    rows: int
    size: int
    passed_over: Counter[str]


def write(target: Path, sources: Sources, advance: Callable[[int], None] = lambda _: None) -> Written:
    """List `sources` into a Parquet file, whole or not at all; memory grows by 8 bytes an image.

    InputError for an image that is listed twice, for no image at all, and for a `target` that holds something else
    than a manifest. `advance` is told of further images.
    """
    _require_replaceable(target)
    passed_over: Counter[str] = Counter()
    roots = [address.uri for address in sources.allowed().allowed]
    facts = json.dumps({"version": VERSION, "roots": roots}).encode()
    keys: list[npt.NDArray[np.uint64]] = []
    size = 0
    with atomic_file(target) as partial, os_errors_name(target):
        with pq.ParquetWriter(partial, SCHEMA.with_metadata({_KEY: facts}), compression="zstd") as out:
            for entries in _groups(sources.entries(lambda reason: passed_over.update([reason])), _GROUP):
                out.write_table(_table(entries))
                keys.append(np.array([int(found.id[:16], 16) for found in entries], np.uint64))
                size += sum(found.size or 0 for found in entries)
                advance(len(entries))
        if not keys:
            left_out = ", ".join(f"{count} {reason}" for reason, count in sorted(passed_over.items()))
            places = ", ".join(sources.names())
            raise InputError(f"{places}: no image there{f' (passed over: {left_out})' if left_out else ''}")
        _refuse_duplicates(partial, np.concatenate(keys))
    return Written(sum(map(len, keys)), size, passed_over)


def _require_replaceable(target: Path) -> None:
    """InputError for a file that is no manifest: it may be an image of the archive itself."""
    if not local_path(target).is_file() or not target.stat().st_size:
        return
    try:
        found = pq.read_schema(target).metadata or {}
    except UNREADABLE:
        found = {}
    if _KEY not in found:
        raise InputError(f"{target}: is there already, and no manifest; name another file, or remove it")


def _groups(entries: Iterable[Entry], size: int) -> Iterator[list[Entry]]:
    remaining = iter(entries)
    while held := list(itertools.islice(remaining, size)):
        yield held


def _table(entries: Sequence[Entry]) -> pa.Table:
    columns = [[getattr(found, name) for found in entries] for name in SCHEMA.names]
    return pa.table(
        [pa.array(column, field.type) for column, field in zip(columns, SCHEMA, strict=True)], schema=SCHEMA
    )


def _refuse_duplicates(path: Path, keys: npt.NDArray[np.uint64]) -> None:
    """InputError for an id that stands there twice; `keys` are the first 64 bits of all, which may agree by chance."""
    keys.sort()
    same = set(keys[1:][keys[1:] == keys[:-1]].tolist())
    if not same:
        return
    seen: dict[str, str] = {}
    again: list[str] = []
    for batch in pq.ParquetFile(path).iter_batches(columns=["id", "uri"]):
        for key, uri in zip(batch["id"].to_pylist(), batch["uri"].to_pylist(), strict=True):
            if int(key[:16], 16) not in same:
                continue
            if key in seen:
                again.append(uri if seen[key] == uri else f"{seen[key]} and {uri}")
            seen[key] = uri
    if again:
        others = f", as {len(again) - 1} others are" if len(again) > 1 else ""
        raise InputError(f"{again[0]}: is listed twice{others}; name each folder, bucket or object once")


class Manifest:
    """A manifest on disk; InputError for a file that is none."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            source = pq.ParquetFile(local_path(path))
        except FileNotFoundError:
            raise InputError(f"{path}: not found; `fracture manifest` writes it") from None
        except UnicodeEncodeError:  # of its name
            raise
        except (OSError, ValueError) as error:
            raise InputError(
                f"{path}: is no manifest ({one_line(error, 60)}); make one with `fracture manifest`"
            ) from None
        with source:
            schema, self.rows = source.schema_arrow, source.metadata.num_rows
        try:
            facts = json.loads((schema.metadata or {})[_KEY])
            self.roots = tuple(map(str, facts["roots"]))
        except (KeyError, ValueError, TypeError):
            raise InputError(f"{path}: was not written by `fracture manifest`; make one with it") from None
        if facts.get("version") != VERSION or not schema.remove_metadata().equals(SCHEMA):
            raise InputError(f"{path}: is a manifest of another version; make it again with `fracture manifest`")
        if not self.rows:
            raise InputError(f"{path}: lists no image; make it again with `fracture manifest`")

    def sha256(self) -> str:
        """Hex sha256 of the file."""
        return sha256_file(self.path)

    def blocks(self, start: int, stop: int, size: int) -> Iterator[list[Entry]]:
        """The rows from `start` to before `stop`, `size` at a time; one row group is held at once."""
        return _groups(self._rows(start, stop), size)

    def _rows(self, start: int, stop: int) -> Iterator[Entry]:
        advice = "make it again with `fracture manifest`"
        with parquet_errors(self.path, advice), pq.ParquetFile(self.path) as source:
            first = 0
            for number in range(source.num_row_groups):
                rows = source.metadata.row_group(number).num_rows
                begin, end = max(start - first, 0), min(stop - first, rows)
                first += rows
                if begin >= end:
                    continue
                columns = source.read_row_group(number, SCHEMA.names).slice(begin, end - begin).to_pydict()
                yield from map(Entry, *(columns[name] for name in SCHEMA.names))
