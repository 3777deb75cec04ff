"""Who sends a request: the keys of API_KEYS, each with a name, a role and a site."""

import hmac
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from serving.errors import SettingsError

Role = Literal["reader", "sender"]
ROLES: tuple[Role, ...] = ("reader", "sender")
"""`reader` sends images and says what became of the answers; `sender` sends images only."""
_WORD = re.compile(r"[A-Za-z0-9._-]{1,64}")
_PARTS = 4


@dataclass(frozen=True)
class Caller:
    """Whoever holds a key: its name and site are kept with the answers, the key itself is not."""

    name: str
    role: Role
    site: str


ANYBODY = Caller("anybody", "reader", "")
"""Where no keys are set."""


class Keyring:
    """The keys of a service; without any, everybody is let in."""

    def __init__(self, entries: Sequence[str]) -> None:
        """`entries` are `name:role:site:KEY`, or a plain KEY, as API_KEYS lists them.

        A plain key is named by its place (`key-1`) and has the role reader and no site. SettingsError for a name or
        site with other characters than letters, digits, dot, dash and underscore, and for a name given twice.
        """
        self._keys = [_parsed(entry, place) for place, entry in enumerate(entries, start=1)]
        self.without_role = [
            caller.name
            for entry, (caller, key) in zip(entries, self._keys, strict=True)
            if key == entry.encode() and entry.count(":") >= _PARTS - 1
        ]
        """Names of plain keys with as many colons as an entry with a role: its role may be misspelt."""
        names = [caller.name for caller, _ in self._keys]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise SettingsError(f"API_KEYS: the name {twice[0]} is given to several keys; each needs its own")

    def caller(self, given: str) -> Caller | None:
        """Whose key this is, None for none of ours; every key is compared, so that the time taken tells nothing."""
        if not self._keys:
            return ANYBODY
        matches = [caller for caller, key in self._keys if hmac.compare_digest(given.encode(), key)]
        return matches[0] if matches else None


def _parsed(entry: str, place: int) -> tuple[Caller, bytes]:
    parts = entry.split(":", _PARTS - 1)
    # A plain key may hold colons; it is one of ours only where a role stands in the second place.
    role = next((role for role in ROLES if len(parts) == _PARTS and parts[1] == role), None)
    if role is None:
        return Caller(f"key-{place}", "reader", ""), entry.encode()
    name, _, site, key = parts
    for what, word in (("name", name), ("site", site)):
        if not _WORD.fullmatch(word):
            raise SettingsError(
                f"API_KEYS: the {what} {word!r} of key {place} holds other characters than letters, digits, dot, dash "
                "and underscore, or more than 64"
            )
    if not key:
        raise SettingsError(f"API_KEYS: entry {place} ({name}) has no key behind the site; write name:role:site:KEY")
    return Caller(name, role, site), key.encode()
