"""Who is logged in: sessions in memory, each known by the digest of a token that only its browser holds."""

import hashlib
import hmac
import os
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

_MOST = 1000


@dataclass
class Session:
    """A login; `seen` are the entries that were audited as shown."""

    user: str
    began: float
    used: float
    seen: set[str] = field(default_factory=set)


class Sessions:
    """Opens, finds and ends sessions; a restart ends all of them."""

    def __init__(
        self, idle_seconds: float, longest_seconds: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._idle, self._longest = idle_seconds, longest_seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._open: OrderedDict[bytes, Session] = OrderedDict()
        self._secret = os.urandom(32)

    def open(self, user: str) -> str:
        """Begin a session; the token is the only key to it."""
        token = secrets.token_urlsafe(32)
        moment = self._clock()
        with self._lock:
            self._open[_digest(token)] = Session(user, moment, moment)
            while len(self._open) > _MOST:
                self._open.popitem(last=False)
        return token

    def find(self, token: str, uses: bool = True) -> Session | None:
        """The session of a token, None where it has ended; `uses` puts off its end."""
        moment = self._clock()
        with self._lock:
            found = self._open.get(_digest(token))
            if found is None:
                return None
            if moment - found.used > self._idle or moment - found.began > self._longest:
                del self._open[_digest(token)]
                return None
            if uses:
                found.used = moment
            return found

    def end(self, token: str) -> Session | None:
        """End a session, and say whose it was."""
        with self._lock:
            return self._open.pop(_digest(token), None)

    @staticmethod
    def new_cookie() -> str:
        """A value for the cookie of a browser that is not logged in."""
        return secrets.token_urlsafe(32)

    def form_token(self, cookie: str) -> str:
        """What a form has to send along with a cookie; nobody who sets or guesses cookies can make it."""
        return hmac.new(self._secret, cookie.encode(), "sha256").hexdigest()

    def is_form_token(self, cookie: str, given: str) -> bool:
        """Whether a form was made for whoever holds the cookie."""
        return bool(cookie) and hmac.compare_digest(self.form_token(cookie).encode(), given.encode())


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
