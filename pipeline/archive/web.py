"""DICOMweb: objects listed by QIDO-RS and read by WADO-RS (PS3.18, sections 10.6 and 10.4)."""

import contextlib
import os
import random
import threading
import time
from collections.abc import Iterator, Mapping
from email.message import Message
from typing import Any

import httpx

from pipeline.archive.addresses import HTTPS, Address, Roots
from pipeline.archive.entries import Entry, dicom_entry
from pipeline.errors import InputError
from serving.errors import ImageError, one_line
from serving.scoring import MAX_BYTES

VARIABLE = "FRACTURE_DICOMWEB_TOKEN"
"""Variable of the environment with the bearer token of the archive."""
_STUDY, _SERIES, _INSTANCE, _MODALITY = "0020000D", "0020000E", "00080018", "00080060"
_PAGE = 1000
_TRIES = 6
_PATIENCE = httpx.Timeout(60, connect=10)
_AGAIN = frozenset({429, 500, 502, 503, 504})
_DICOM = 'multipart/related; type="application/dicom"; transfer-syntax=*'


def list_instances(root: Address, roots: Roots, modalities: tuple[str, ...] = ()) -> Iterator[Entry]:
    """Every object of these modalities (none named: of all) in the archive, study by study.

    InputError where the archive does not answer, or not as DICOMweb does.
    """
    wanted = {"ModalitiesInStudy": "\\".join(modalities)} if modalities else {}
    for study in _search(root, roots, "studies", _STUDY, wanted):
        below = f"studies/{_value(study, _STUDY)}"
        for series in _search(root, roots, f"{below}/series", _SERIES, {}):
            if modalities and _value(series, _MODALITY) not in modalities:
                continue
            place = f"{below}/series/{_value(series, _SERIES)}/instances"
            for instance in _search(root, roots, place, _INSTANCE, {}):
                uid = _value(instance, _INSTANCE)
                uri = Address(root.scheme, root.place, f"{root.path}/{place}/{uid}".lstrip("/")).uri
                yield dicom_entry(uri, uid)


def fetch(address: Address, roots: Roots) -> bytes:
    """The object at a WADO-RS address as a DICOM file; ImageError `missing`, `unreadable` or `too_large`."""
    try:
        answer = _get(address, roots, {}, _DICOM)
    except InputError as error:
        raise ImageError("unreadable", one_line(error)) from None
    if answer.status_code == 404:
        raise ImageError("missing", "there is no such image any more")
    if answer.status_code != 200:
        raise ImageError("unreadable", f"the archive answers {answer.status_code}")
    kind = Message()
    kind["content-type"] = answer.headers.get("content-type", "")
    if kind.get_content_type() == "application/dicom":
        return answer.content
    boundary = kind.get_param("boundary")
    if kind.get_content_type() != "multipart/related" or not isinstance(boundary, str):
        raise ImageError("unreadable", "the archive answers with something else than a DICOM object")
    return _first_part(answer.content, boundary.encode())


def _first_part(content: bytes, boundary: bytes) -> bytes:
    """The one part of a multipart body (RFC 2046, section 5.1.1)."""
    start = content.find(b"--" + boundary)
    head = content.find(b"\r\n\r\n", start)
    end = content.find(b"\r\n--" + boundary, head)
    if min(start, head, end) < 0:
        raise ImageError("unreadable", "the archive's answer is cut short")
    return content[head + 4 : end]


def _search(root: Address, roots: Roots, below: str, uid: str, asked: Mapping[str, str]) -> Iterator[Mapping[str, Any]]:
    """What a QIDO-RS search finds, a page at a time, each `uid` once.

    Ends at the first page with nothing new: archives cap a page where they like, and some ignore the offset.
    """
    address = Address(root.scheme, root.place, f"{root.path}/{below}".lstrip("/"))
    known: set[str] = set()
    while True:
        page = {"limit": str(_PAGE)} | ({"offset": str(len(known))} if known else {})
        answer = _get(address, roots, {**asked, **page}, "application/dicom+json")
        if answer.status_code == 204:
            return
        if answer.status_code != 200:
            raise InputError(f"{address.uri}: the archive answers {answer.status_code}; is it the root of DICOMweb?")
        try:
            found = list(answer.json())
        except (ValueError, TypeError):
            raise InputError(f"{address.uri}: the answer is no DICOM JSON; is it the root of DICOMweb?") from None
        fresh = [row for row in found if _value(row, uid) not in known]
        known.update(_value(row, uid) for row in fresh)
        yield from fresh
        if not fresh:
            return


def _value(row: Mapping[str, Any], tag: str) -> str:
    try:
        return str(row[tag]["Value"][0])
    except (KeyError, IndexError, TypeError):
        raise InputError(f"the archive's answer lacks the attribute {tag}; it does not follow DICOMweb") from None


class _Clients(threading.local):
    """One client a thread and host: connections are used again."""

    def __init__(self) -> None:
        self.by_place: dict[str, tuple[httpx.Client, str]] = {}


_clients = _Clients()


def _client(address: Address, roots: Roots) -> tuple[httpx.Client, str]:
    """A client, and the IP address of the host that was checked."""
    if address.place not in _clients.by_place:
        number = roots.connection(address)
        _clients.by_place[address.place] = (
            httpx.Client(follow_redirects=False, timeout=_PATIENCE, trust_env=False),
            number,
        )
    return _clients.by_place[address.place]


def _get(address: Address, roots: Roots, asked: Mapping[str, str], accept: str) -> httpx.Response:
    """One request, without redirects, to the IP address that was checked; tried again with growing pauses."""
    client, number = _client(address, roots)
    named = httpx.URL(address.uri)
    headers = {"Accept": accept, "Host": address.place}
    if token := os.environ.get(VARIABLE):
        headers["Authorization"] = f"Bearer {token}"
    extensions = {"sni_hostname": named.host} if address.scheme == HTTPS else {}
    failure = ""
    for attempt in range(_TRIES):
        if attempt:
            time.sleep(random.uniform(0.5, 1) * 0.4 * 2**attempt)  # noqa: S311  spreads the clients, hides nothing
        try:
            request = client.build_request(
                "GET", named.copy_with(host=number), params=asked or None, headers=headers, extensions=extensions
            )
            answer = _received(client, request)
        except httpx.HTTPError as error:
            failure = type(error).__name__
            continue
        if answer.status_code not in _AGAIN:
            return answer
        failure = f"status {answer.status_code}"
    raise InputError(f"{address.scheme}://{address.place}: the archive does not answer ({failure})")


def _received(client: httpx.Client, request: httpx.Request) -> httpx.Response:
    """The answer with its body, which is cut off where no radiograph is as large."""
    with contextlib.closing(client.send(request, stream=True)) as answer:
        content = bytearray()
        for piece in answer.iter_bytes():
            content += piece
            if len(content) > MAX_BYTES:
                raise ImageError("too_large", f"the file is larger than {MAX_BYTES >> 20} MiB")
        kept = {"content-type": answer.headers.get("content-type", "")}  # the body is no longer compressed
        return httpx.Response(answer.status_code, headers=kept, content=bytes(content))
