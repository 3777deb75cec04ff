"""Addresses: what is read, what is refused, and what never shows."""

from pathlib import Path

import pytest

from pipeline.archive.addresses import Roots, parse
from pipeline.errors import InputError


@pytest.mark.parametrize(
    ("text", "uri"),
    [
        ("s3://bucket/a/b.dcm", "s3://bucket/a/b.dcm"),
        ("s3://bucket/a%3Fb%23c d.png", "s3://bucket/a%3Fb%23c%20d.png"),
        ("az://container/ä.png", "az://container/%C3%A4.png"),
        ("file:///a/b.png", "file:///a/b.png"),
        ("/a/../b.png", "file:///b.png"),
        ("https://pacs.example:8443/dicom-web/", "https://pacs.example:8443/dicom-web"),
    ],
)
def test_an_address_has_one_way_to_be_written(text: str, uri: str) -> None:
    assert parse(text).uri == uri
    assert parse(uri).uri == uri


def test_a_path_without_a_scheme_starts_at_the_folder_given() -> None:
    assert parse("b c.png", Path("/a")).uri == "file:///a/b%20c.png"


@pytest.mark.parametrize("base", [None, Path(), Path("lists"), Path("/elsewhere")])
def test_a_path_without_a_scheme_never_starts_at_the_root(
    base: Path | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert parse("b.png", base).file == tmp_path / (base or Path()) / "b.png"


def test_a_name_that_is_no_text_survives() -> None:
    address = parse("/a/\udcff.png")
    assert parse(address.uri) == address


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("gs://bucket/a", "gs:// is not read"),
        ("ftp://host/a", "ftp:// is not read"),
        ("simplecache::s3://bucket/a", "chained protocols"),
        ("zip://a::s3://bucket/b.zip", "is not read"),
        ("s3://bucket/../other", "leads upwards"),
        ("s3://bucket/%2e%2e/other", "leads upwards"),
        ("s3://B/a", "names no bucket"),
        ("az:///a", "names no container"),
        ("file://host/a", "names a host"),
        ("https:///a", "names no host"),
        ("https://host:99999/a", "a port that is none"),
        ("https://[::1", "names no host"),
        ("https://[h]/a", "names no host"),
        ("s3://[b/a", "names no host"),
        ("", "is no address"),
    ],
)
def test_what_is_not_read_is_one_line(text: str, said: str) -> None:
    with pytest.raises(InputError, match=said) as found:
        parse(text)
    assert "\n" not in str(found.value)


@pytest.mark.parametrize("text", ["az://c/a.png?sv=1&sig=SECRET", "https://h/a?sig=SECRET", "s3://b/a#SECRET"])
def test_a_signature_is_refused_and_not_shown(text: str) -> None:
    with pytest.raises(InputError, match="has a query") as found:
        parse(text)
    assert "SECRET" not in str(found.value)


def test_a_login_is_refused_and_not_shown() -> None:
    with pytest.raises(InputError, match="holds a login") as found:
        parse("https://me:SECRET@host/a")
    assert "SECRET" not in str(found.value)


@pytest.mark.parametrize(
    ("uri", "allowed"),
    [
        ("s3://bucket/a/b.png", True),
        ("s3://bucket/a", True),
        ("s3://bucket/ab.png", False),
        ("s3://other/a/b.png", False),
        ("file:///a/b.png", False),
    ],
)
def test_only_what_lies_below_a_root_is_allowed(uri: str, allowed: bool) -> None:
    roots = Roots.of(["s3://bucket/a"])
    if allowed:
        roots.check(parse(uri))
    else:
        with pytest.raises(InputError, match="below none of the roots"):
            roots.check(parse(uri))


@pytest.mark.parametrize("host", ["127.0.0.1", "10.0.0.1", "169.254.169.254", "[::1]", "[fe80::1]", "localhost"])
def test_a_private_host_has_to_be_named(host: str) -> None:
    address = parse(f"https://{host}/dicom-web")
    with pytest.raises(InputError, match="is a private address; name it with --root"):
        Roots.of([address.uri]).connection(address)
    assert Roots.of([], [address.uri]).connection(address)


def test_an_unencrypted_host_has_to_be_named() -> None:
    address = parse("http://127.0.0.1/dicom-web")
    with pytest.raises(InputError, match="is not encrypted"):
        Roots.of([address.uri]).connection(address)
