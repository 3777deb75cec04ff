"""Images in buckets (s3://) and containers (az://)."""

from collections.abc import Iterator
from pathlib import PurePosixPath

import obstore

from pipeline.archive.addresses import Address
from pipeline.archive.entries import Entry, bare_etag, entry
from pipeline.archive.object_stores import open_store, store_errors
from pipeline.archive.sources.folders import PassedOver
from pipeline.errors import InputError
from serving.scoring import is_image_name

_PAGE = 1000


def list_objects(root: Address, passed_over: PassedOver) -> Iterator[Entry]:
    """The images below a prefix, or one object, in the order of their keys; hidden names are passed over.

    InputError where the store does not answer.
    """
    store = open_store(root)
    prefix = root.path.rstrip("/")
    with store_errors(root.uri):
        for page in obstore.list(store, prefix or None, chunk_size=_PAGE):
            for found in page:
                key = str(found["path"])
                if wanted(key, passed_over):
                    address = Address(root.scheme, root.place, key)
                    yield entry(address.uri, found["size"], bare_etag(found["e_tag"]))
        if prefix and (one := _object(root, store)):
            yield one


def object_entry(address: Address) -> Entry:
    """The entry of one object; InputError where there is none."""
    with store_errors(address.uri):
        found = _object(address, open_store(address))
    if found is None:
        raise InputError(f"{address.uri}: there is no such object")
    return found


def wanted(key: str, passed_over: PassedOver) -> bool:
    """Whether an object is an image by its name, and nothing of its path is hidden."""
    path = PurePosixPath(key)
    if any(part.startswith(".") for part in path.parts):
        passed_over("hidden")
    elif key.endswith("/") or not is_image_name(path.name):
        passed_over("no image by name")
    else:
        return True
    return False


def _object(address: Address, store: obstore.store.ObjectStore) -> Entry | None:
    try:
        found = obstore.head(store, address.path)
    except FileNotFoundError:
        return None
    return entry(address.uri, found["size"], bare_etag(found["e_tag"]))
