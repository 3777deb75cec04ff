"""Names, roles and sites of keys."""

import pytest

from serving.errors import SettingsError
from serving.http.keys import ANYBODY, Caller, Keyring


def test_a_key_with_a_name_a_role_and_a_site_is_known_by_its_secret_alone() -> None:
    keys = Keyring(["ward:reader:north:s3:cret", "pacs:sender:south:other"])
    assert keys.caller("s3:cret") == Caller("ward", "reader", "north")
    assert keys.caller("other") == Caller("pacs", "sender", "south")
    assert keys.caller("ward:reader:north:s3:cret") is None


def test_a_plain_key_still_works_and_may_hold_colons() -> None:
    keys = Keyring(["plain", "a:b:c:d"])
    assert keys.caller("plain") == Caller("key-1", "reader", "")
    assert keys.caller("a:b:c:d") == Caller("key-2", "reader", "")


def test_without_keys_everybody_is_let_in() -> None:
    assert Keyring([]).caller("") == ANYBODY


def test_a_key_of_letters_beyond_ascii_is_compared_too() -> None:
    assert Keyring(["schlüssel"]).caller("schlüssel") is not None
    assert Keyring(["schlüssel"]).caller("schlussel") is None


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        (["ward 1:reader:north:x"], "the name 'ward 1' of key 1 holds other characters"),
        (["ward:reader::x"], "the site '' of key 1 holds other characters"),
        (["ward:reader:north:"], r"entry 1 \(ward\) has no key behind the site; write name:role:site:KEY"),
        (["a:reader:n:x", "a:sender:n:y"], "the name a is given to several keys"),
    ],
)
def test_a_wrong_entry_is_named_without_its_secret(entries: list[str], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        Keyring(entries)
