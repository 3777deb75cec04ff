"""Addresses of images, and the roots below which they may lie.

An address is `file:///folder/name`, `s3://bucket/key`, `az://container/name` or `https://host/path` of DICOMweb.
Keys are percent-encoded, so that an address never has a query: that is where signatures (SAS) stand.
"""

import ipaddress
import os
import re
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import SplitResult, quote, unquote_to_bytes, urlsplit

from pipeline.errors import InputError

FILE, S3, AZURE, HTTP, HTTPS = "file", "s3", "az", "http", "https"
SCHEMES = (FILE, S3, AZURE, HTTP, HTTPS)
"""What may be read; everything else is refused."""
OBJECTS = (S3, AZURE)
WEB = (HTTP, HTTPS)

_BUCKET = re.compile(r"[a-z0-9][a-z0-9._-]{1,62}")
_READ = "name a folder, s3://, az:// or https://"
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):(?=//)")


@dataclass(frozen=True, slots=True)
class Address:
    """Where something lies.

    `place` is a bucket, a container or host[:port]; `path` is decoded, and has no `/` before it.
    """

    scheme: str
    place: str
    path: str

    @property
    def uri(self) -> str:
        """The address as it is written in a manifest."""
        return f"{self.scheme}://{self.place}/{quote(os.fsencode(self.path), safe='/:@~!$&()*+,;=')}"

    @property
    def file(self) -> Path:
        """The path of a local file."""
        return Path(f"/{self.path}")

    def below(self, root: "Address") -> bool:
        """Whether this address is that of `root`, or of something in it; links are not looked at."""
        if (self.scheme, self.place) != (root.scheme, root.place):
            return False
        top = root.path.rstrip("/")
        return not top or self.path == top or self.path.startswith(f"{top}/")


def parse(text: str, base: Path | None = None) -> Address:
    """An address from what a person or a file gave; a path without a scheme is taken from `base`, the current folder.

    InputError, without what stands after a `?`, for other schemes, chained ones, and for addresses with a query, a
    fragment, a user or `..`.
    """
    shown = re.split(r"[?#]", text)[0]
    if "\n" in text or "\0" in text or not text.strip():
        raise InputError(f"{shown!r}: is no address; {_READ}")
    if "::" in text.split("/", maxsplit=1)[0]:
        raise InputError(f"{shown}: chained protocols are not read; {_READ}")
    found = _SCHEME.match(text)
    if found is None:
        return Address(FILE, "", os.path.normpath(Path.cwd() / (base or ".") / text).lstrip("/"))
    scheme = found[1].lower()
    if scheme not in SCHEMES:
        raise InputError(f"{shown}: {scheme}:// is not read; {_READ}")
    if shown != text:
        raise InputError(
            f"{shown}: has a query, which is never stored; give a signature (SAS) in the environment "
            "(AZURE_STORAGE_SAS_KEY), and write a ? or # of a name as %3F or %23"
        )
    try:
        parts = urlsplit(text)
    except ValueError:  # of brackets that hold no IPv6 address
        raise InputError(f"{shown}: names no host; an IPv6 address stands in brackets: https://[::1]/PATH") from None
    path = os.fsdecode(unquote_to_bytes(parts.path)).lstrip("/")
    if ".." in PurePosixPath(path).parts:
        raise InputError(f"{shown}: leads upwards (..); name the folder itself")
    if "@" in parts.netloc:
        raise InputError(f"{scheme}://{parts.hostname}/...: holds a login; give it in the environment")
    return Address(scheme, _place(scheme, parts, shown), path if scheme in OBJECTS else path.rstrip("/"))


def local_path(path: Path) -> Path:
    """`path`; InputError for an address, which pathlib takes for a folder of its scheme's name."""
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]*:/", str(path)):
        shown = re.split(r"[?#]", str(path))[0]
        raise InputError(f"{shown}: is an address where a file of this machine is expected; name its path")
    return path


def _place(scheme: str, parts: SplitResult, shown: str) -> str:
    """Bucket, container or host[:port] of an address; empty for a file."""
    if scheme == FILE:
        if parts.netloc not in {"", "localhost"}:
            raise InputError(f"{shown}: names a host; a local file is file:///folder/name")
        return ""
    if scheme in OBJECTS:
        if not _BUCKET.fullmatch(parts.netloc):
            raise InputError(
                f"{shown}: names no {'bucket' if scheme == S3 else 'container'}; {scheme}://NAME/PATH does"
            )
        return parts.netloc
    try:
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        raise InputError(f"{shown}: has a port that is none") from None
    if not parts.hostname:
        raise InputError(f"{shown}: names no host")
    return (f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname) + port


@dataclass(frozen=True)
class Roots:
    """The allow-list: what may be read lies below one of `allowed`; hosts in `trusted` may be private ones.

    Of a cluster, every process that reads has the same list.
    """

    allowed: tuple[Address, ...]
    trusted: frozenset[str] = frozenset()

    @classmethod
    def of(cls, given: Iterable[str], trusted: Iterable[str] = ()) -> "Roots":
        """From addresses; those in `trusted`, which a person named on the command line, may be private hosts."""
        named = [parse(text) for text in trusted]
        every = dict.fromkeys([*(parse(text) for text in given), *named])
        return cls(tuple(every), frozenset(address.place for address in named if address.scheme in WEB))

    def check(self, address: Address) -> None:
        """Raise InputError for an address that is below none of the roots."""
        if not any(address.below(root) for root in self.allowed):
            raise InputError(f"{address.uri}: lies below none of the roots; allow it with --root")

    def connection(self, address: Address) -> str:
        """The IP address to connect to; InputError for a private or link-local one that no --root names.

        Its caller connects to that very address: a second look-up of the name could give another.
        """
        parts = urlsplit(f"//{address.place}")
        port = parts.port or (443 if address.scheme == HTTPS else 80)
        trusted = address.place in self.trusted
        if address.scheme == HTTP and not trusted:
            raise InputError(
                f"{address.scheme}://{address.place}: is not encrypted; name it with --root if that is meant"
            )
        try:
            found = socket.getaddrinfo(parts.hostname, port, type=socket.SOCK_STREAM)
        except OSError as error:
            raise InputError(f"{address.place}: the host is not known ({error.strerror or error})") from None
        numbers = [str(entry[4][0]) for entry in found]
        for number in numbers:
            if not trusted and not ipaddress.ip_address(number.split("%")[0]).is_global:
                raise InputError(f"{address.place}: is a private address; name it with --root if that is meant")
        return numbers[0]
