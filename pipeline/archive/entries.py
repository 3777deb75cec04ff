"""One image of an archive, as a manifest lists it."""

import hashlib
import os
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Entry:
    """An image; `size` is in bytes, None where nobody said, `etag` is empty where there is none.

    `id` stays the same as long as the image does: another content, or another place, is another id.
    """

    id: str
    uri: str
    size: int | None
    etag: str


def entry(uri: str, size: int | None, etag: str) -> Entry:
    """An entry whose id is a hash of address and etag, 32 hexadecimal digits."""
    return Entry(_hash(f"{uri}\n{etag}"), uri, size, etag)


def dicom_entry(uri: str, sop_instance_uid: str) -> Entry:
    """An entry of a DICOM object, whose UID is its own for ever and wherever it lies."""
    return Entry(_hash(f"sop\n{sop_instance_uid}"), uri, None, "")


def file_etag(facts: os.stat_result) -> str:
    """Of a local file: size, time of its last change in nanoseconds and inode."""
    return f"{facts.st_size:x}-{facts.st_mtime_ns:x}-{facts.st_ino:x}"


def bare_etag(given: str | None) -> str:
    """An etag without its quotes, which listings, inventories and headers write or leave out; weak ones are none."""
    text = given or ""
    return "" if text.startswith("W/") else text.strip('"')


def _hash(text: str) -> str:
    return hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()
