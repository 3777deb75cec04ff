"""Inventory files, which S3 and Azure write of all their objects: no listing, which takes hours for a billion.

S3 Inventory: a `manifest.json` that names CSV or Parquet files; keys are percent-encoded in CSV and not in Parquet.
Azure Blob inventory: a `RULE-manifest.json` that names CSV or Parquet files, with a header, of `container/blob` names.
"""

import csv
import gzip
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote_plus

import obstore
import pyarrow.parquet as pq

from pipeline.archive.addresses import AZURE, FILE, S3, Address, Roots, parse
from pipeline.archive.entries import Entry, bare_etag, entry
from pipeline.archive.object_stores import open_store, store_errors
from pipeline.archive.parquet import parquet_errors
from pipeline.archive.sources.folders import PassedOver
from pipeline.archive.sources.objects import wanted
from pipeline.errors import InputError
from serving.errors import one_line

_COLUMNS = {
    S3: {
        "key": "key",
        "size": "size",
        "etag": "etag",
        "e_tag": "etag",
        "bucket": "bucket",
        "islatest": "latest",
        "is_latest": "latest",
        "isdeletemarker": "deleted",
        "is_delete_marker": "deleted",
    },
    AZURE: {
        "name": "key",
        "content-length": "size",
        "etag": "etag",
        "snapshot": "snapshot",
        "iscurrentversion": "latest",
        "deleted": "deleted",
        "hdi_isfolder": "folder",
    },
}
"""Names of columns, lower case, of either cloud, and what they are here."""


@dataclass(frozen=True)
class _Inventory:
    """What a manifest says: which cloud, where its files lie, and in what form they are."""

    scheme: str
    bucket: str
    files: tuple[Address, ...]
    kind: str
    columns: tuple[str, ...]  # of CSV without a header


def list_inventory(text: str, roots: Roots, passed_over: PassedOver) -> Iterator[Entry]:
    """The images that an inventory lists, in its order; `text` is the path or address of its manifest.

    The inventory's own files lie where the manifest says, or beside a downloaded manifest. Older versions, delete
    markers, snapshots and folders are passed over. InputError for what is no inventory, names ORC files, lacks a
    column, or lists an object below no root.
    """
    address = parse(text)
    found = _manifest(address)
    for file in found.files:
        for row in _rows(file, found):
            one = _entry(row, found, roots, passed_over)
            if one is not None:
                yield one


def _manifest(address: Address) -> _Inventory:
    shown = address.file if address.scheme == FILE else address.uri
    try:
        raw = json.loads(_content(address))
        if "sourceBucket" in raw:
            scheme, kind = S3, str(raw["fileFormat"]).lower()
            columns = [name.strip() for name in str(raw["fileSchema"]).split(",")] if kind == "csv" else []
            bucket = str(raw["sourceBucket"])
            home = Address(S3, str(raw["destinationBucket"]).rsplit(":", 1)[-1], "")
            names = [str(file["key"]) for file in raw["files"]]
        else:
            scheme, kind = AZURE, str(raw["ruleDefinition"]["format"]).lower()
            columns, bucket = [], ""
            home = Address(AZURE, str(raw["destinationContainer"]), "")
            names = [str(file["blob"]) for file in raw["files"]]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{shown}: is no manifest of an inventory ({one_line(error, 80)})") from None
    if kind not in {"csv", "parquet"}:
        raise InputError(f"{shown}: its files are {kind.upper()}; make the inventory as CSV or Parquet")
    return _Inventory(scheme, bucket, tuple(_place(address, home, name) for name in names), kind, tuple(columns))


def _place(manifest: Address, home: Address, name: str) -> Address:
    """Where a file of the inventory lies: beside a downloaded manifest, else in the bucket that it was written to."""
    if manifest.scheme != FILE:
        return Address(home.scheme, home.place, name)
    folder = manifest.file.parent
    candidates = [folder / name, folder / PurePosixPath(name).name, folder.parent / "data" / PurePosixPath(name).name]
    for path in candidates:
        if path.is_file():
            return Address(FILE, "", str(path.absolute()).lstrip("/"))
    raise InputError(f"{folder}: lacks {PurePosixPath(name).name}, which the manifest names; download it too")


def _content(address: Address) -> bytes:
    if address.scheme == FILE:
        try:
            return address.file.read_bytes()
        except OSError as error:
            raise InputError(f"{address.file}: cannot be read ({error.strerror or error})") from None
    with store_errors(address.uri):
        try:
            return bytes(obstore.get(open_store(address), address.path).bytes())
        except FileNotFoundError:
            raise InputError(f"{address.uri}: there is no such object") from None


def _rows(file: Address, found: _Inventory) -> Iterator[Mapping[str, Any]]:
    """One mapping a line, by our names of the columns."""
    shown = file.file if file.scheme == FILE else file.uri
    names = _COLUMNS[found.scheme]
    if found.kind == "csv":
        yield from _csv_rows(file, found, names)
        return
    try:
        source = pq.ParquetFile(file.file if file.scheme == FILE else io.BytesIO(_content(file)))
    except (OSError, ValueError) as error:
        raise InputError(f"{shown}: is no Parquet file ({one_line(error, 80)})") from None
    kept = {name: names[name.lower()] for name in source.schema_arrow.names if name.lower() in names}
    _check_columns(list(kept.values()), shown)
    with parquet_errors(shown, "download it again, or wait for the next inventory"):
        for batch in source.iter_batches(columns=list(kept)):
            columns = [column.to_pylist() for column in batch.columns]
            keys = [kept[name] for name in batch.schema.names]
            for values in zip(*columns, strict=True):
                yield dict(zip(keys, values, strict=True))


def _csv_rows(file: Address, found: _Inventory, names: Mapping[str, str]) -> Iterator[Mapping[str, Any]]:
    shown = file.file if file.scheme == FILE else file.uri
    raw = file.file.open("rb") if file.scheme == FILE else io.BytesIO(_content(file))
    with raw:
        packed = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        lines = io.TextIOWrapper(gzip.GzipFile(fileobj=raw) if packed else raw, encoding="utf-8", newline="")
        try:
            reader = csv.reader(lines)
            header = list(found.columns) or next(iter(reader), [])
            keys = [names.get(name.lower(), "") for name in header]
            _check_columns(keys, shown)
            for row in reader:
                values = {key: value for key, value in zip(keys, row, strict=True) if key}
                if found.scheme == S3:
                    values["key"] = unquote_plus(values["key"])
                yield values
        except (ValueError, OSError, EOFError, csv.Error) as error:
            raise InputError(f"{shown}: is no CSV of an inventory ({one_line(error, 80)})") from None


def _check_columns(found: Sequence[str], shown: str | Path) -> None:
    missing = [name for name in ("key", "size", "etag") if name not in found]
    if missing:
        raise InputError(f"{shown}: lacks the column {', '.join(missing)}; add it to the inventory's configuration")


def _entry(row: Mapping[str, Any], found: _Inventory, roots: Roots, passed_over: PassedOver) -> Entry | None:
    if not _yes(row.get("latest"), default=True) or _yes(row.get("deleted")) or row.get("snapshot"):
        passed_over("an older version")
        return None
    if not row["key"]:
        raise InputError(f"{found.bucket or 'the inventory'}: a row names no object; is the order of columns right?")
    key = str(row["key"])
    bucket = found.bucket
    if found.scheme == AZURE:
        bucket, _, key = key.partition("/")
    if _yes(row.get("folder")) or not wanted(key, passed_over):
        return None
    address = Address(found.scheme, bucket, key)
    roots.check(address)
    return entry(address.uri, _size(row["size"], address), bare_etag(row["etag"]))


def _size(value: object, address: Address) -> int | None:
    if value in {None, ""}:
        return None
    try:
        return int(str(value))
    except ValueError:
        raise InputError(
            f"{address.uri}: its size in the inventory is no number; is the order of columns right?"
        ) from None


def _yes(value: object, default: bool = False) -> bool:
    return default if value in {None, ""} else str(value).lower() == "true"
