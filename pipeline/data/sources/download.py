"""Fetch a published file: its listing, its bytes (resumed where they broke off), its checksum."""

import hashlib
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

from pipeline.errors import InputError, os_errors_name
from pipeline.progress import Advance, progress_bar
from serving.errors import one_line

BLOCK = 1 << 20
TIMEOUT = httpx.Timeout(30.0, connect=15.0)
ATTEMPTS = 5
"""Connections in a row that may bring nothing before the download is given up."""
MAX_LISTING_BYTES = 4 << 20
_TRY_AGAIN = {202, 408, 425, 429, 500, 502, 503, 504}
_INSTEAD = "check the connection, or download it yourself and give it with --archive FILE"


@dataclass(frozen=True)
class PublishedFile:
    """One file of an article's listing: `size` in bytes, `md5` in lower-case hex."""

    name: str
    size: int
    md5: str
    url: str


class _InterruptedError(Exception):
    """The connection broke or the server asked for patience; what has arrived is kept."""


def listing(url: str) -> list[PublishedFile]:
    """The files of an article, as the figshare API lists them (JSON `files`: name, size, computed_md5, ...).

    Raises InputError when the address is not http(s), does not answer, or answers something else.
    """
    _require_http(url)
    try:
        with httpx.Client(follow_redirects=True, timeout=TIMEOUT) as client, client.stream("GET", url) as answer:
            if answer.status_code != httpx.codes.OK:
                raise InputError(f"{url}: answered with status {answer.status_code}; {_INSTEAD}")
            content = b""
            for block in answer.iter_bytes(BLOCK):
                content += block
                if len(content) > MAX_LISTING_BYTES:
                    raise InputError(f"{url}: is too long for a listing of files; check the address given with --url")
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise InputError(f"{url}: could not be fetched ({one_line(error)}); {_INSTEAD}") from None
    return _parse_listing(url, content)


def _parse_listing(url: str, content: bytes) -> list[PublishedFile]:
    try:
        return [_published(entry) for entry in httpx.Response(200, content=content).json()["files"]]
    except (ValueError, KeyError, TypeError):
        raise InputError(
            f"{url}: is not a listing of published files (JSON `files` with name, size, md5, download_url); "
            "check the address given with --url"
        ) from None


def _published(entry: Any) -> PublishedFile:
    md5 = str(entry.get("computed_md5") or entry["supplied_md5"]).lower()
    if not re.fullmatch(r"[0-9a-f]{32}", md5):
        raise ValueError(md5)
    return PublishedFile(Path(str(entry["name"])).name, int(entry["size"]), md5, str(entry["download_url"]))


def fetch(url: str, target: Path, size: int, md5: str, *, pause: float = 1.0) -> Path:
    """Bring a file of known size and checksum to `target`, unless it is there already, and return `target`.

    Bytes arrive in `<target>.part`; after a broken connection, or a killed process, the next attempt asks for
    the rest only. `pause` is the first wait between attempts in seconds, doubled each time. `target` appears
    only with the right size and checksum. Raises InputError when the address is not http(s), does not answer
    after several attempts, or sends other bytes than announced (those are deleted).
    """
    _require_http(url)
    target.parent.mkdir(parents=True, exist_ok=True)
    with os_errors_name(target):
        if target.is_file() and target.stat().st_size == size and _md5(target) == md5:
            return target
        part = target.with_name(f"{target.name}.part")
        _complete(url, part, size, pause)
        if _md5(part) != md5:
            _discard(part)
            raise InputError(f"{url}: arrived with a wrong checksum and was deleted; run the command again")
        part.replace(target)
        _validator_file(part).unlink(missing_ok=True)
    return target


def _complete(url: str, part: Path, size: int, pause: float) -> None:
    """Bring `part` to `size` bytes, over as many connections as it takes while each brings something."""
    if _size(part) > size:
        _discard(part)
    fruitless = 0
    with (
        httpx.Client(follow_redirects=True, timeout=TIMEOUT) as client,
        progress_bar(f"download {part.name.removesuffix('.part')}", size) as advance,
    ):
        advance(_size(part))
        while _size(part) < size:
            before = _size(part)
            try:
                _receive(client, url, part, size, advance)
            except _InterruptedError as error:
                fruitless = 0 if _size(part) > before else fruitless + 1
                if fruitless == ATTEMPTS:
                    raise InputError(
                        f"{url}: broke off at {_size(part)} of {size} bytes ({error}); run the command again to go on"
                    ) from None
                time.sleep(pause * 2**fruitless)


def _receive(client: httpx.Client, url: str, part: Path, size: int, advance: Advance) -> None:
    """One connection: append to `part`, or write it anew when the server sends the file from its start."""
    start = _size(part)
    headers = {"Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
        if validator := _read_validator(part):
            headers["If-Range"] = validator
    try:
        with client.stream("GET", url, headers=headers) as answer:
            resumed = _check_answer(answer, url, start, size)
            if not resumed:
                advance(-start)
                start = 0
                _validator_file(part).write_text(_validator(answer), encoding="utf-8")
            with part.open("ab" if resumed else "wb") as file:
                for block in answer.iter_raw():
                    start += len(block)
                    if start > size:
                        raise _wrong_size(part, url, f"more than {size}", size)
                    file.write(block)
                    advance(len(block))
    except (httpx.UnsupportedProtocol, httpx.InvalidURL, httpx.TooManyRedirects) as error:
        raise InputError(f"{url}: cannot be followed ({one_line(error)}); {_INSTEAD}") from None
    except httpx.TransportError as error:
        raise _InterruptedError(one_line(error)) from None
    if start < size:
        raise _InterruptedError("the server ended early")


def _check_answer(answer: httpx.Response, url: str, start: int, size: int) -> bool:
    """Whether the answer goes on at `start` (True) or begins anew (False); raises when it is of no use."""
    status = answer.status_code
    if status in _TRY_AGAIN:
        raise _InterruptedError(f"status {status}")
    if status == httpx.codes.PARTIAL_CONTENT:
        asked = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", answer.headers.get("Content-Range", ""))
        if asked is None or int(asked[1]) != start:
            raise InputError(f"{url}: answered with another part of the file than asked for; {_INSTEAD}")
        if asked[2] not in ("*", str(size)):
            raise InputError(f"{url}: offers {asked[2]} bytes where the listing says {size}; {_INSTEAD}")
        return True
    if status != httpx.codes.OK:
        raise InputError(f"{url}: answered with status {status}; {_INSTEAD}")
    length = answer.headers.get("Content-Length", str(size))
    if length != str(size):
        raise InputError(f"{url}: offers {length} bytes where the listing says {size}; {_INSTEAD}")
    return False


def _wrong_size(part: Path, url: str, sent: str, size: int) -> InputError:
    _discard(part)
    return InputError(f"{url}: sent {sent} bytes where the listing says {size}; the bytes were deleted, {_INSTEAD}")


def _require_http(url: str) -> None:
    if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).netloc:
        raise InputError(f"{url}: is not an http or https address; give one such as https://host/articles/1")


def _validator(answer: httpx.Response) -> str:
    """What names this version of the file in If-Range: a strong ETag, else the date of last change."""
    etag = str(answer.headers.get("ETag", ""))
    return etag if etag and not etag.startswith("W/") else str(answer.headers.get("Last-Modified", ""))


def _validator_file(part: Path) -> Path:
    return part.with_name(f"{part.name}.version")


def _read_validator(part: Path) -> str:
    path = _validator_file(part)
    return path.read_text(encoding="utf-8") if path.is_file() else ""


def _discard(part: Path) -> None:
    part.unlink(missing_ok=True)
    _validator_file(part).unlink(missing_ok=True)


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _md5(path: Path) -> str:
    """Hex md5 of a file: the checksum the listing gives, no protection against forgery."""
    digest = hashlib.md5(usedforsecurity=False)
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()
