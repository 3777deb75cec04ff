"""Users with their password hashes, and the lock-out of those who guess."""

import base64
import binascii
import hashlib
import hmac
import os
import re
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from hospital import logs
from hospital.errors import HospitalError

LEAST_CHARACTERS = 12
MOST_CHARACTERS = 256
_LOG_N, _R, _P = 15, 8, 3
"""Cost of scrypt: 32 MiB and about a quarter of a second, as OWASP's password storage cheat sheet asks at least."""
_SALT_BYTES, _KEY_BYTES = 16, 32
_MOST_MEMORY = 1 << 28
_NAME = re.compile(r"[A-Za-z0-9._@-]{1,64}")
_HASH = re.compile(r"\$scrypt\$ln=(\d{1,2}),r=(\d{1,2}),p=(\d{1,2})\$([A-Za-z0-9+/]+)\$([A-Za-z0-9+/]+)")
_AT_ONCE = 2
"""Passwords that are checked at the same time; more would let anybody take the memory."""
_REMEMBERED = 10_000
_ADDRESS_FACTOR = 4
"""An address may fail this many times more often than a name: several people may share one."""


@dataclass(frozen=True)
class PasswordHash:
    """A password as scrypt leaves it."""

    log_n: int
    r: int
    p: int
    salt: bytes
    key: bytes

    @classmethod
    def of(cls, password: str) -> "PasswordHash":
        """Hash a password with a salt of its own."""
        salt = os.urandom(_SALT_BYTES)
        return cls(_LOG_N, _R, _P, salt, _derived(password, _LOG_N, _R, _P, salt))

    @classmethod
    def parse(cls, text: str) -> "PasswordHash":
        """From `$scrypt$ln=15,r=8,p=3$salt$key`; ValueError for anything else, and for a cost that is out of bounds."""
        found = _HASH.fullmatch(text)
        if found is None:
            raise ValueError("is no $scrypt$ hash")
        log_n, r, p = (int(found[number]) for number in (1, 2, 3))
        if not (14 <= log_n <= 17 and 8 <= r <= 16 and 1 <= p <= 8):
            raise ValueError("has a cost of scrypt that is out of bounds")
        try:
            salt, key = (base64.b64decode(found[number] + "==") for number in (4, 5))
        except binascii.Error:
            raise ValueError("is no $scrypt$ hash") from None
        if len(salt) < _SALT_BYTES or len(key) != _KEY_BYTES:
            raise ValueError("is no $scrypt$ hash")
        return cls(log_n, r, p, salt, key)

    def __str__(self) -> str:
        salt, key = (base64.b64encode(part).decode().rstrip("=") for part in (self.salt, self.key))
        return f"$scrypt$ln={self.log_n},r={self.r},p={self.p}${salt}${key}"

    def is_of(self, password: str) -> bool:
        """Whether it is this password's; takes the same time either way."""
        return hmac.compare_digest(_derived(password, self.log_n, self.r, self.p, self.salt), self.key)


def check_new(name: str, password: str) -> None:
    """HospitalError for a name or a password that nobody may have."""
    if not _NAME.fullmatch(name):
        raise HospitalError("a user's name may hold letters, digits, dot, dash, underscore and @, at most 64 of them")
    if not LEAST_CHARACTERS <= len(password) <= MOST_CHARACTERS:
        raise HospitalError(f"a password has {LEAST_CHARACTERS} to {MOST_CHARACTERS} characters")


class Accounts:
    """The users of a file, which is read again when it changes, or of HOSPITAL_WORKLIST_USERS."""

    def __init__(self, path: Path | None, given: str) -> None:
        """Read them; HospitalError where there are none, or a line is no `name:hash`."""
        self._path = path
        self._lock = threading.Lock()
        self._slots = threading.BoundedSemaphore(_AT_ONCE)
        self._stamp = self._current_stamp()
        self._users = _parsed(_read(path), str(path)) if path else _parsed(given, "HOSPITAL_WORKLIST_USERS")

    def holds(self, name: str, password: str) -> bool:
        """Whether a user of that name has this password; takes as long for a name that nobody has."""
        self._refresh()
        known = self._users.get(name)
        with self._slots:
            matches = (known or _decoy(self._users)).is_of(password[:MOST_CHARACTERS])
        return matches and known is not None and len(password) <= MOST_CHARACTERS

    def is_known(self, name: str) -> bool:
        """Whether there is such a user still."""
        self._refresh()
        return name in self._users

    def _refresh(self) -> None:
        """Read a changed file; one that cannot be used leaves things as they are."""
        with self._lock:
            stamp = self._current_stamp()
            if self._path is None or stamp is None or stamp == self._stamp:
                return
            self._stamp = stamp
            try:
                self._users = _parsed(_read(self._path), str(self._path))
                logs.event("users_read", users=len(self._users))
            except HospitalError:
                logs.trouble("users_not_read")

    def _current_stamp(self) -> tuple[int, int, int] | None:
        try:
            found = self._path.stat() if self._path else None
        except OSError:
            return None
        return (found.st_mtime_ns, found.st_size, found.st_ino) if found else None


class Lockout:
    """Counts failures of names and of addresses; after too many, each is refused for a while."""

    def __init__(self, attempts: int, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = {"name": attempts, "address": attempts * _ADDRESS_FACTOR}
        self._seconds = seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._failed: OrderedDict[tuple[str, str], tuple[int, float]] = OrderedDict()

    def begin(self, name: str, address: str) -> float:
        """Count an attempt as failed until `succeeded` says otherwise; seconds to wait where it is refused, else 0.

        It is counted first, so that many at the same time are no more than one after the other.
        """
        keys = (("name", name.casefold()), ("address", address))
        moment = self._clock()
        with self._lock:
            waits = [self._failed[key][1] - moment for key in keys if self._is_locked(key, moment)]
            if waits:
                return max(waits)
            for key in keys:
                count = self._failed.get(key, (0, 0.0))
                # Failures are forgotten after the same time in which a lock ends.
                number = 1 if count[1] <= moment else count[0] + 1
                self._failed[key] = (number, moment + self._seconds)
                self._failed.move_to_end(key)
            while len(self._failed) > _REMEMBERED:
                self._failed.popitem(last=False)
        return 0.0

    def is_locked(self, name: str) -> bool:
        """Whether the next attempt with this name is refused."""
        with self._lock:
            return self._is_locked(("name", name.casefold()), self._clock())

    def succeeded(self, name: str, address: str) -> None:
        """Forget the failures of a name, and the attempt that was counted for the address."""
        with self._lock:
            self._failed.pop(("name", name.casefold()), None)
            count, until = self._failed.get(("address", address), (1, 0.0))
            self._failed[("address", address)] = (count - 1, until)

    def _is_locked(self, key: tuple[str, str], moment: float) -> bool:
        count, until = self._failed.get(key, (0, 0.0))
        return count >= self._most[key[0]] and until > moment


def _decoy(users: Mapping[str, PasswordHash]) -> PasswordHash:
    """What is compared for a name that nobody has: of the same cost, and no password's."""
    one = next(iter(users.values()))
    return PasswordHash(one.log_n, one.r, one.p, bytes(_SALT_BYTES), bytes(_KEY_BYTES))


def _derived(password: str, log_n: int, r: int, p: int, salt: bytes) -> bytes:
    return hashlib.scrypt(
        password.encode(), salt=salt, n=1 << log_n, r=r, p=p, maxmem=_MOST_MEMORY + (1 << 20), dklen=_KEY_BYTES
    )


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        raise HospitalError(
            f"worklist.users: {path}: cannot be read; make it with `fracture hospital password NAME`"
        ) from None


def _parsed(text: str, place: str) -> dict[str, PasswordHash]:
    users: dict[str, PasswordHash] = {}
    for number, line in enumerate(text.split(), start=1):
        name, _, hashed = line.partition(":")
        try:
            if not _NAME.fullmatch(name) or name in users:
                raise ValueError("has no name, or one that was given before")
            users[name] = PasswordHash.parse(hashed)
        except ValueError as error:
            raise HospitalError(
                f"{place}: entry {number} {error}; make it with `fracture hospital password NAME`"
            ) from None
    if not users:
        raise HospitalError(f"{place}: the worklist needs a user; make one with `fracture hospital password NAME`")
    return users
