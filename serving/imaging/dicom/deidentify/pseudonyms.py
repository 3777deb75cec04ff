"""UIDs, patients and dates under a key: the same original and key always give the same pseudonym."""

import hashlib
import hmac
import os
import uuid
from dataclasses import dataclass, field
from datetime import date, timedelta

from serving.errors import SettingsError

VARIABLE = "FRACTURE_DEIDENTIFICATION_KEY"
_SHORTEST = 32
_MOST_DAYS = 3652
"""Ten years: dates move into the past by 1 to this many days."""


@dataclass(frozen=True)
class Key:
    """A secret, and the pseudonyms that follow from it by HMAC-SHA256 (RFC 2104); each kind has a domain of its own."""

    secret: bytes = field(repr=False)

    @classmethod
    def from_environment(cls) -> "Key":
        """The key of FRACTURE_DEIDENTIFICATION_KEY; SettingsError where it is missing or shorter than 32 characters."""
        given = os.environ.get(VARIABLE, "").strip()
        if len(given) < _SHORTEST:
            found = f"has {len(given)}" if given else "is not set"
            raise SettingsError(
                f"{VARIABLE}: {found}, but de-identification needs a secret of at least {_SHORTEST} characters; "
                "make one with `openssl rand -hex 32`, and keep it: another key gives other pseudonyms"
            )
        return cls(given.encode())

    @property
    def fingerprint(self) -> str:
        """Tells two keys apart and gives neither away: 8 hexadecimal digits."""
        return self._digest("fingerprint", "").hex()[:8]

    def uid(self, original: str) -> str:
        """The UID in the place of another: below 2.25 (PS3.5, B.2), from 122 bits."""
        return f"2.25.{uuid.UUID(bytes=self._digest('uid', original)[:16], version=4).int}"

    def patient(self, original: str) -> str:
        """The Patient ID in the place of another: P and 16 hexadecimal digits."""
        return f"P{self._digest('patient', original).hex()[:16]}"

    def study(self, original: str) -> str:
        """The short name of a study by its Study Instance UID: S and 16 hexadecimal digits."""
        return f"S{self._digest('study', original).hex()[:16]}"

    def image(self, original: str) -> str:
        """The short name of an image by its SOP Instance UID: 16 hexadecimal digits."""
        return self._digest("image", original).hex()[:16]

    def shifted(self, day: str, patient: str) -> str:
        """A date (DA, YYYYMMDD) moved into the past by the patient's constant of days; empty for what is no date."""
        try:
            if len(day) != 8 or not (day.isascii() and day.isdigit()):
                return ""
            moved = date(int(day[:4]), int(day[4:6]), int(day[6:])) - timedelta(days=self.days(patient))
        except (ValueError, OverflowError):
            return ""
        return f"{moved:%Y%m%d}" if moved.year >= 1000 else ""

    def days(self, patient: str) -> int:
        """The days by which a patient's dates move into the past, 1 to 3652."""
        return 1 + int.from_bytes(self._digest("days", patient)[:8], "big") % _MOST_DAYS

    def _digest(self, domain: str, original: str) -> bytes:
        return hmac.digest(self.secret, f"{domain}\0{original}".encode("utf-8", "surrogateescape"), hashlib.sha256)
