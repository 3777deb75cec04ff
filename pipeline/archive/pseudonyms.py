"""Names in place of addresses and UIDs, which may identify a patient: the same ones for the same key."""

import hashlib
import hmac
import os
from dataclasses import dataclass

from pipeline.archive.results import Row
from pipeline.errors import InputError

KEY = "FRACTURE_PSEUDONYM_KEY"
"""Variable of the environment with the key."""
_SHORTEST = 32
"""Characters, as the service asks of the same variable."""
_NAMED = ("id", "uri", "sop_instance_uid")


@dataclass(frozen=True)
class Pseudonyms:
    """HMAC-SHA256 of a value by a key, its first 32 hexadecimal digits; without a key everything stays as it is."""

    key: bytes = b""

    @classmethod
    def from_environment(cls) -> "Pseudonyms":
        """With the key of the environment; InputError where it is missing or short."""
        key = os.environ.get(KEY, "").encode()
        if len(key) < _SHORTEST:
            raise InputError(
                f"{KEY}: --pseudonymise needs a key of {_SHORTEST} characters or more in this variable; "
                "make one: openssl rand -hex 32"
            )
        return cls(key)

    @property
    def fingerprint(self) -> str:
        """Tells whether two keys are the same, and nothing else about them; empty without one."""
        return self.of("fracture score") if self.key else ""

    def of(self, value: str) -> str:
        """The name in place of a value."""
        if not self.key:
            return value
        return hmac.new(self.key, value.encode("utf-8", "surrogateescape"), hashlib.sha256).hexdigest()[:32]

    def row(self, row: Row) -> Row:
        """A row with names in place of id, address and UID, and without its etag, by which a file could be found."""
        if not self.key:
            return row
        named = {column: row[column] and self.of(row[column]) for column in _NAMED}
        return {**row, **named, "etag": ""}
