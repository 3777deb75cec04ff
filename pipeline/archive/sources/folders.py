"""Images in local folders."""

import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from pipeline.archive.addresses import FILE, Address
from pipeline.archive.entries import Entry, entry, file_etag
from pipeline.errors import InputError
from serving.scoring import is_image_name

PassedOver = Callable[[str], None]
"""Told why something in a folder is left out."""


def list_folder(root: Address, passed_over: PassedOver) -> Iterator[Entry]:
    """The images below a folder, or one file, sorted within each folder; only one folder's names are held at once.

    Hidden files, what is no image by name and links that lead out of the folder are passed over; links to folders are
    not followed. InputError where there is nothing, or a folder cannot be listed.
    """
    top = root.file
    if top.is_file():
        yield file_entry(root)
    elif top.is_dir():
        yield from _walk(str(top), os.path.realpath(top), passed_over)
    else:
        raise InputError(f"{top}: no such file or folder")


def file_entry(address: Address) -> Entry:
    """The entry of one local file; InputError where there is none."""
    path = address.file
    try:
        facts = path.stat()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from None
    if not stat.S_ISREG(facts.st_mode):
        raise InputError(f"{path}: is no regular file")
    return entry(address.uri, facts.st_size, file_etag(facts))


def _walk(folder: str, top: str, passed_over: PassedOver) -> Iterator[Entry]:
    """Depth first, so that the order is that of the sorted paths within each folder."""
    try:
        with os.scandir(folder) as found:
            inside = sorted(found, key=lambda item: item.name)
    except OSError as error:
        raise InputError(f"{folder}: cannot be listed ({error.strerror or error})") from None
    for item in inside:
        if not item.name.startswith(".") and item.is_dir(follow_symlinks=False):
            yield from _walk(item.path, top, passed_over)
            continue
        try:
            reason = _reason_against(item, top)
            facts = item.stat() if not reason else None
        except OSError:  # a link that leads back to itself; a file that went while the folder was listed
            reason, facts = "cannot be read", None
        if facts is None:
            passed_over(reason)
        else:
            yield entry(Address(FILE, "", item.path.lstrip("/")).uri, facts.st_size, file_etag(facts))


def _reason_against(item: os.DirEntry[str], top: str) -> str:
    """Why something that is no folder is left out; empty for an image."""
    if item.name.startswith("."):
        return "hidden"
    if item.is_dir():
        return "a link to a folder"
    if not is_image_name(item.name):
        return "no image by name"
    if item.is_symlink() and not Path(item.path).resolve().is_relative_to(top):
        return "a link out of the folder"
    return "" if item.is_file() else "no regular file"
