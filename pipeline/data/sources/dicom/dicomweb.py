"""Radiographs of a DICOMweb server (PS3.18): found by QIDO-RS, fetched by WADO-RS, from the one given origin.

Addresses that the server names (Retrieve URL) are not followed, nor are redirects, and no proxy of the environment is
used: patients' data and the authorization go to the given address only.
"""

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from email.message import Message
from functools import partial
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import httpx

from pipeline.data.sources.dicom.objects import MAX_OBJECT_BYTES, TOO_LARGE, Offered, UnreadableError
from pipeline.errors import InputError
from serving.errors import one_line
from serving.imaging.dicom.dataset import identifier
from serving.imaging.dicom.deidentify.profile import RADIOGRAPHS

AUTHORIZATION = "FRACTURE_DICOMWEB_AUTHORIZATION"
"""Variable that holds the value of the Authorization header."""
_PAGE = 200
_TIMEOUT = httpx.Timeout(60.0, connect=15.0)
_WAITS = (1.0, 4.0)
"""Seconds before a request that found the server busy or away is made again."""
_JSON = {"accept": "application/dicom+json"}
_DICOM = {"accept": 'multipart/related; type="application/dicom"; transfer-syntax=*'}
_STUDY, _SERIES, _INSTANCE, _CLASS = "0020000D", "0020000E", "00080018", "00080016"
_MAX_ANSWER = 64 << 20


class _Place(NamedTuple):
    study: str
    series: str
    instance: str

    @property
    def path(self) -> str:
        return f"/studies/{self.study}/series/{self.series}/instances/{self.instance}"


class ServerObjects:
    """The CR and DX objects of a server; of certain studies, where `studies` names any."""

    def __init__(self, url: str, studies: Sequence[str] = ()) -> None:
        parts = urlsplit(url)
        if not parts.hostname or parts.username or parts.password or parts.query or parts.fragment:
            raise InputError(
                f"{parts.hostname or url}: give the address of a DICOMweb service, such as https://pacs/dicom-web; "
                f"credentials belong into {AUTHORIZATION}"
            )
        self.name = parts.hostname
        self.others = 0
        self._url = url.rstrip("/")
        given = os.environ.get(AUTHORIZATION, "").strip()
        headers = {"authorization": given} if given else {}
        self._client = httpx.Client(headers=headers, timeout=_TIMEOUT, trust_env=False, follow_redirects=False)
        self._places = [place for study in studies or self._studies() for place in self._instances(study)]

    def __len__(self) -> int:
        return len(self._places)

    def __iter__(self) -> Iterator[Offered]:
        for place in self._places:
            yield Offered(place.path, partial(self._fetch, place), place.instance, place.study)

    def _studies(self) -> list[str]:
        """Studies with a CR or a DX image, by UID."""
        found: dict[str, None] = {}
        for modality in RADIOGRAPHS.values():
            for entry in self._pages("/studies", {"ModalitiesInStudy": modality}):
                if uid := identifier(_first(entry, _STUDY)):
                    found[uid] = None
        return list(found)

    def _instances(self, study: str) -> list[_Place]:
        found = []
        for entry in self._pages(f"/studies/{study}/instances", {"includefield": _CLASS}):
            kind = identifier(_first(entry, _CLASS))
            place = _Place(study, identifier(_first(entry, _SERIES)), identifier(_first(entry, _INSTANCE)))
            if not all(place) or (kind and kind not in RADIOGRAPHS):
                self.others += 1
            else:
                found.append(place)
        return found

    def _pages(self, path: str, query: Mapping[str, str]) -> Iterator[Mapping[str, Any]]:
        """Every entry of an answer, page by page until one brings nothing new: a server may ignore `offset`."""
        seen: set[str] = set()
        while True:
            page = self._entries(path, {**query, "limit": str(_PAGE), "offset": str(len(seen))})
            new = [entry for entry in page if _key(entry) not in seen]
            seen.update(map(_key, new))
            yield from new
            if not new:
                return

    def _entries(self, path: str, query: Mapping[str, str]) -> list[Mapping[str, Any]]:
        try:
            status, _, content = self._asked(path, _JSON, _MAX_ANSWER, query)
        except UnreadableError:
            raise InputError(f"{self._url}: gives more than {_MAX_ANSWER >> 20} MiB for a page of a query") from None
        if status == 204:
            return []
        if status != 200:
            raise self._refusal(status)
        try:
            entries = httpx.Response(200, content=content).json()
        except ValueError:
            entries = None
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise InputError(f"{self._url}: does not answer in DICOM JSON; is it the address of a DICOMweb service?")
        return entries

    def _fetch(self, place: _Place) -> bytes:
        status, content_type, content = self._asked(place.path, _DICOM, MAX_OBJECT_BYTES + _MAX_ANSWER)
        if status in {404, 406, 410, 413, 500}:
            raise UnreadableError(f"cannot be had from the server ({status})")
        if status != 200:
            raise self._refusal(status)
        found = first_part(content_type, content)
        if len(found) > MAX_OBJECT_BYTES:
            raise UnreadableError(TOO_LARGE)
        return found

    def _asked(
        self, path: str, headers: Mapping[str, str], most: int, query: Mapping[str, str] | None = None
    ) -> tuple[int, str, bytes]:
        """Status, content type and body of an answer; a server that is busy or away is asked again."""
        for wait in (*_WAITS, None):
            try:
                status, content_type, content = self._asked_once(path, headers, most, query)
            except httpx.HTTPError as error:
                problem = f"does not answer ({one_line(error, 120)})"
            else:
                if status not in {429, 502, 503, 504}:
                    return status, content_type, content
                problem = f"answers {status}"
            if wait is not None:
                time.sleep(wait)
        raise InputError(f"{self._url}: {problem}; run the command again to go on where it stopped")

    def _asked_once(
        self, path: str, headers: Mapping[str, str], most: int, query: Mapping[str, str] | None
    ) -> tuple[int, str, bytes]:
        body = bytearray()
        with self._client.stream("GET", self._url + path, headers=headers, params=query) as answer:
            for block in answer.iter_bytes():
                body += block
                if len(body) > most:
                    raise UnreadableError(TOO_LARGE)
            return answer.status_code, answer.headers.get("content-type", ""), bytes(body)

    def _refusal(self, status: int) -> InputError:
        if status in {401, 403}:
            return InputError(f"{self._url}: answers {status}; set {AUTHORIZATION} to the Authorization header's value")
        if 300 <= status < 400:
            return InputError(f"{self._url}: redirects to another address, which is not followed; give that one")
        return InputError(f"{self._url}: answers {status}; is it the address of a DICOMweb service?")


def first_part(content_type: str, content: bytes) -> bytes:
    """The first part of a multipart answer (RFC 2046, 5.1), or a body that is DICOM itself.

    Raises UnreadableError for any other body.
    """
    header = Message()
    header["content-type"] = content_type
    if header.get_content_type() == "application/dicom":
        return content
    boundary = str(header.get_param("boundary") or "")
    if header.get_content_maintype() != "multipart" or not boundary:
        raise UnreadableError("came from the server in a form that is not read")
    mark = f"--{boundary}".encode()
    start = content.find(b"\r\n\r\n", max(content.find(mark), 0))
    end = content.find(b"\r\n" + mark, start + 4)
    if start < 0 or end < 0:
        raise UnreadableError("came from the server cut short")
    return content[start + 4 : end]


def _first(entry: Mapping[str, Any], tag: str) -> str:
    try:
        return str(entry[tag]["Value"][0])
    except (LookupError, TypeError):
        return ""


def _key(entry: Mapping[str, Any]) -> str:
    return _first(entry, _INSTANCE) or _first(entry, _STUDY)
