"""QIDO-RS and WADO-RS (PS3.18, 10.4 and 10.6) at one address: what a server answers leads nowhere else.

No redirect is followed, no proxy of the environment is used, no BulkDataURI is looked at (objects are asked for whole),
and a RetrieveURL counts only where it names the same object at the configured origin.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import httpx

from hospital import logs
from hospital.bodies import blocks
from hospital.config import MIB, Poll
from hospital.dicomweb.related import DICOM, Part, RelatedBounds, RelatedError, RelatedReader, new_partial
from hospital.errors import DeadLetterError, TryAgainError
from hospital.unanswered import unreachable
from serving.imaging.dicom import DECODERS
from serving.imaging.dicom.dataset import identifier

MODALITIES = ("CR", "DX")
_JSON = "application/dicom+json"
_MOST_JSON = 16 * MIB
"""Of one page; 100 studies take about 0.2 MiB."""
_MOST_ENTRIES = 10_000
"""Of one search: beyond it a server that never ends is given up."""
_SMALLEST_PAGE = 5
_OF_THE_SERVER = (401, 403, 407, 429, 502, 503, 504)
"""What a server says of itself, or of this client, rather than of one object."""
_PLAIN = "1.2.840.10008.1.2.1"  # Explicit VR Little Endian
_STUDY, _SERIES, _INSTANCE, _CLASS, _RETRIEVE_URL = "0020000D", "0020000E", "00080018", "00080016", "00081190"
_COUNT = "00201208"  # Number of Study Related Instances
_DEMOGRAPHICS = (
    "00080020",
    "00080030",
    "00080050",
    "00080090",
    "00100010",
    "00100020",
    "00100030",
    "00100040",
    "00200010",
)
"""Date, time, accession number, referring physician, name, ID, birth date and sex of the patient, study ID."""

Entry = Mapping[str, Any]


class UnavailableObjectError(Exception):
    """An object that the server does not give in good order; others of it may be well. `code` is stable."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class _TooMuchError(Exception):
    """The server wants a narrower search (413)."""


@dataclass(frozen=True)
class FoundStudy:
    """A study as a search gives it; `demographics` is a digest, `count` is None where the server does not say."""

    uid: str
    demographics: str
    count: int | None


@dataclass(frozen=True)
class FoundInstance:
    """An object as a search gives it."""

    study_uid: str
    series_uid: str
    sop_instance_uid: str
    sop_class_uid: str
    retrieve_url: str

    @property
    def path(self) -> str:
        """Of the object, below the service's address (PS3.18, 10.4.1)."""
        return f"/studies/{self.study_uid}/series/{self.series_uid}/instances/{self.sop_instance_uid}"


class DicomwebClient:
    """Asks one server; TryAgainError or DeadLetterError where it does not answer as one."""

    def __init__(self, settings: Poll, authorization: str = "") -> None:
        self._settings = settings
        self._url = settings.url.rstrip("/")
        self._origin = _origin(httpx.URL(self._url))
        headers = {"accept-encoding": "identity", **({"authorization": authorization} if authorization else {})}
        self._client = httpx.Client(
            headers=headers,
            timeout=settings.timeout_seconds,
            trust_env=False,
            follow_redirects=False,
            verify=settings.tls.client() if settings.tls else True,
        )

    def echo(self) -> None:
        """A search for one study."""
        try:
            self._page("/studies", {"limit": "1"})
        except _TooMuchError:
            return  # it answers, and a search by date is narrower

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def studies(self, first: date, last: date) -> Iterator[FoundStudy]:
        """Studies with radiographs of some days, each of them once or more often."""
        for modality in MODALITIES:
            yield from self._studies(modality, first, last)

    def _studies(self, modality: str, first: date, last: date) -> Iterator[FoundStudy]:
        match = {"ModalitiesInStudy": modality, "StudyDate": f"{first:%Y%m%d}-{last:%Y%m%d}"}
        try:
            for entry in self._search("/studies", match, _STUDY):
                count = _value(entry, _COUNT)
                yield FoundStudy(
                    identifier(_value(entry, _STUDY)),
                    hashlib.sha256(
                        json.dumps([entry.get(tag) for tag in _DEMOGRAPHICS], sort_keys=True).encode()
                    ).hexdigest(),
                    int(count) if str(count).isdigit() else None,
                )
        except _TooMuchError:
            if first == last:
                raise TryAgainError("http_413", f"{self._settings.name} gives too much for one day") from None
            middle = first + (last - first) // 2
            yield from self._studies(modality, first, middle)
            yield from self._studies(modality, middle + timedelta(days=1), last)

    def instances(self, study_uid: str) -> Iterator[FoundInstance]:
        """All objects of a study."""
        try:
            for entry in self._search(f"/studies/{study_uid}/instances", {}, _INSTANCE):
                yield FoundInstance(
                    study_uid,
                    identifier(_value(entry, _SERIES)),
                    identifier(_value(entry, _INSTANCE)),
                    identifier(_value(entry, _CLASS)),
                    str(_value(entry, _RETRIEVE_URL) or ""),
                )
        except _TooMuchError:
            raise TryAgainError("http_413", f"{self._settings.name} gives too much for one study") from None

    def retrieve(self, found: FoundInstance, folder: Path, taken: Callable[[Path], None]) -> None:
        """Fetch an object into a file of `folder`, which `taken` is given; UnavailableObjectError where it fails.

        It is asked for as it is stored; a server that does not give that, or not in a transfer syntax that is read, is
        asked for Explicit VR Little Endian.
        """
        if not found.series_uid:
            raise UnavailableObjectError("bad_uid")
        address = self._address(found)
        for syntax in ("*", _PLAIN):
            accept = f'multipart/related; type="{DICOM}"; transfer-syntax={syntax}'
            with self._asked(address, {}, accept) as answer:
                if answer.status_code in {400, 406, 415} and syntax != _PLAIN:
                    continue
                if answer.status_code != 200:
                    raise UnavailableObjectError(f"http_{answer.status_code}")
                stated = _stated_syntax(answer.headers.get("content-type", ""))
                if stated and stated not in DECODERS and syntax != _PLAIN:
                    continue
                self._received(answer, folder, taken)
                return

    def _received(self, answer: httpx.Response, folder: Path, taken: Callable[[Path], None]) -> None:
        """The one object of an answer, in multipart/related or alone."""
        kind = answer.headers.get("content-type", "")
        largest = self._settings.max_object_mb * MIB
        length = answer.headers.get("content-length", "")
        if length.isdigit() and int(length) > largest + MIB:
            raise UnavailableObjectError("object_size")
        try:
            if kind.partition(";")[0].strip().lower() == DICOM:
                self._alone(answer, folder, taken, largest)
                return
            reader = RelatedReader(
                kind, folder, RelatedBounds(largest, largest + MIB, 1), lambda part: _one(part, taken)
            )
            try:
                for block in blocks(answer, self._settings.name, self._settings.timeout_seconds):
                    reader.feed(block)
                reader.finish()
                if not reader.parts:
                    raise UnavailableObjectError("no_object")
            finally:
                reader.close()
        except RelatedError as error:
            raise UnavailableObjectError("object_size" if error.code == "body_size" else error.code) from None
        except httpx.RemoteProtocolError:
            raise UnavailableObjectError("cut_off") from None

    def _alone(self, answer: httpx.Response, folder: Path, taken: Callable[[Path], None], largest: int) -> None:
        path = new_partial(folder)
        size = 0
        try:
            with path.open("xb") as file:
                for block in blocks(answer, self._settings.name, self._settings.timeout_seconds):
                    size += len(block)
                    if size > largest:
                        raise UnavailableObjectError("object_size")
                    file.write(block)
            taken(path)
        finally:
            path.unlink(missing_ok=True)

    def _address(self, found: FoundInstance) -> str:
        """The object's RetrieveURL if it is that of the object at the configured origin, else where it has to be."""
        given = found.retrieve_url
        if given and given.isprintable() and given.endswith(found.path):
            try:
                url = httpx.URL(given)
            except httpx.InvalidURL:
                url = httpx.URL(self._url)
            if _origin(url) == self._origin and not url.userinfo and not url.query and ".." not in given:
                return given
        if given and _origin_of(given) != self._origin:
            logs.event("foreign_retrieve_url", source=self._settings.name)
        return self._url + found.path

    def _search(self, path: str, match: Mapping[str, str], key: str) -> Iterator[Entry]:
        """Entries page by page until one brings nothing new: servers cap a limit, or know neither limit nor offset.

        Orthanc, asked for a modality, skips `offset` of the first `limit` results. So where a full page is followed by
        nothing, a larger one is asked for from the beginning.
        """
        limit, offset = self._settings.page_size, 0
        seen: set[str] = set()
        was_full = has_grown = False
        while True:
            try:
                page = self._page(path, {**match, "limit": str(limit), "offset": str(offset)})
            except _TooMuchError:
                if has_grown:
                    return
                if limit <= _SMALLEST_PAGE:
                    raise
                limit = max(_SMALLEST_PAGE, limit // 4)
                continue
            fresh = {uid: entry for entry in page if (uid := identifier(_value(entry, key))) and uid not in seen}
            seen |= fresh.keys()
            yield from fresh.values()
            if len(seen) > _MOST_ENTRIES:
                raise TryAgainError("endless", f"{self._settings.name} gives more than {_MOST_ENTRIES} results")
            if fresh:
                was_full, offset = len(page) >= limit, offset + len(page)
            elif was_full:
                limit, offset, was_full, has_grown = 4 * limit, 0, False, True
            else:
                return

    def _page(self, path: str, parameters: Mapping[str, str]) -> list[Entry]:
        name = self._settings.name
        with self._asked(self._url + path, parameters, _JSON) as answer:
            if answer.status_code == 204:
                return []
            if answer.status_code == 413:
                raise _TooMuchError
            if answer.status_code != 200:
                raise self._refusal(answer.status_code)
            content = bytearray()
            for block in blocks(answer, self._settings.name, self._settings.timeout_seconds):
                content += block
                if len(content) > _MOST_JSON:
                    raise _TooMuchError
        try:
            found = json.loads(content) if content.strip() else []
        except (ValueError, RecursionError):
            raise TryAgainError("not_json", f"{name} answered a search with something other than DICOM JSON") from None
        if not isinstance(found, list) or not all(isinstance(entry, dict) for entry in found):
            raise TryAgainError("not_json", f"{name} answered a search with something other than a list of objects")
        return found

    @contextmanager
    def _asked(self, address: str, parameters: Mapping[str, str], accept: str) -> Iterator[httpx.Response]:
        """An answer whose body is still to come; what concerns the server as a whole ends here."""
        name = self._settings.name
        try:
            with self._client.stream("GET", address, params=parameters or None, headers={"accept": accept}) as answer:
                if answer.is_redirect:
                    raise DeadLetterError(
                        "redirect", f"{name} redirects ({answer.status_code}); give its final address"
                    )
                if answer.status_code in _OF_THE_SERVER:
                    raise self._refusal(answer.status_code)
                if answer.headers.get("content-encoding", "identity").lower() != "identity":
                    raise TryAgainError("encoded", f"{name} compresses its answers though it was asked not to")
                yield answer
        except httpx.HTTPError as error:
            raise unreachable(name, error) from None

    def _refusal(self, status: int) -> TryAgainError | DeadLetterError:
        problem = f"{self._settings.name} answered {status}"
        if status in {400, 401, 403, 404, 405, 407}:
            return DeadLetterError(f"http_{status}", f"{problem}; check its address and authorization")
        return TryAgainError(f"http_{status}", problem)


def _one(part: Part, taken: Callable[[Path], None]) -> None:
    if part.over_size:
        raise UnavailableObjectError("object_size")
    taken(part.path)


def _value(entry: Entry, tag: str) -> Any:
    """The first value of an attribute in DICOM JSON; None where there is none of a plain kind."""
    attribute = entry.get(tag)
    values = attribute.get("Value") if isinstance(attribute, dict) else None
    first = values[0] if isinstance(values, list) and values else None
    return first if isinstance(first, str | int | float) else None


def _origin(url: httpx.URL) -> tuple[str, str, int]:
    return url.scheme, url.host, url.port or {"http": 80, "https": 443}.get(url.scheme, 0)


def _origin_of(text: str) -> tuple[str, str, int] | None:
    try:
        return _origin(httpx.URL(text))
    except httpx.InvalidURL:
        return None


def _stated_syntax(content_type: str) -> str:
    """The transfer syntax that a Content-Type names, if it does."""
    for option in content_type.split(";")[1:]:
        name, _, value = option.strip().partition("=")
        if name.lower() == "transfer-syntax":
            return value.strip('" ')
    return ""
