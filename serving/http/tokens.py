"""Tokens that allow feedback on one answer: whoever got the answer has it, and nobody can make one without the key."""

import base64
import hashlib
import hmac
import re
import time
from collections.abc import Callable

_MAC_BYTES = 24
_SECONDS = re.compile(r"[0-9]{1,12}")


class TokenError(Exception):
    """A token that allows nothing; the message is one line."""


class TokenSigner:
    """Signs and checks tokens, with the first of the keys; the others are those of before a change of keys."""

    def __init__(self, keys: str, clock: Callable[[], float] = time.time) -> None:
        """`keys` are separated by commas."""
        self._keys = [key.strip().encode() for key in keys.split(",")]
        self._clock = clock

    def sign(self, answer_id: str, site: str, expires: float) -> str:
        """A token for an answer that a site's key got, valid until `expires` (seconds since 1970)."""
        return f"{int(expires)}.{_mac(self._keys[0], answer_id, site, int(expires))}"

    def check(self, token: str, answer_id: str, site: str) -> None:
        """TokenError unless the token is one of ours, for this answer and site, and has not expired."""
        if not token:
            raise TokenError("feedback_token is missing; send the one that came with the answer")
        until, _, mac = token.partition(".")
        expires = int(until) if _SECONDS.fullmatch(until) else 0
        fits = [hmac.compare_digest(mac.encode(), _mac(key, answer_id, site, expires).encode()) for key in self._keys]
        if not any(fits):
            raise TokenError("feedback_token is not the one that came with this answer")
        if expires < self._clock():
            raise TokenError("feedback_token has expired; ask for the answer again")


def _mac(key: bytes, answer_id: str, site: str, expires: int) -> str:
    text = f"feedback\0{answer_id}\0{site}\0{expires}".encode()
    return base64.urlsafe_b64encode(hmac.new(key, text, hashlib.sha256).digest()[:_MAC_BYTES]).decode()
