"""Bytes of an image: only below the roots, only while it is the image of the manifest."""

import os
from pathlib import Path

import obstore
import pytest

from pipeline.archive.addresses import Roots, parse
from pipeline.archive.entries import Entry
from pipeline.archive.fetching import Fetcher
from pipeline.archive.manifest import Sources
from pipeline.archive.object_stores import open_store
from serving.errors import ImageError


def _entries(*named: str) -> list[Entry]:
    return list(Sources(named).entries(lambda _: None))


def _code(fetcher: Fetcher, entry: Entry) -> str:
    with pytest.raises(ImageError) as found:
        fetcher.fetch(entry)
    return found.value.code


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Make a folder with one file."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.png").write_bytes(b"here")
    return tmp_path / "in"


def test_a_file_is_read(folder: Path) -> None:
    (entry,) = _entries(str(folder))
    assert Fetcher(Roots.of([str(folder)])).fetch(entry) == b"here"


def test_a_file_that_was_changed_is_told(folder: Path) -> None:
    (entry,) = _entries(str(folder))
    (folder / "a.png").write_bytes(b"gone")
    assert _code(Fetcher(Roots.of([str(folder)])), entry) == "changed"


def test_a_file_that_was_removed_is_told(folder: Path) -> None:
    (entry,) = _entries(str(folder))
    (folder / "a.png").unlink()
    assert _code(Fetcher(Roots.of([str(folder)])), entry) == "missing"


def test_a_file_outside_of_the_roots_is_not_read(folder: Path, tmp_path: Path) -> None:
    (entry,) = _entries(str(folder))
    assert _code(Fetcher(Roots.of([str(tmp_path / "other")])), entry) == "not_allowed"


def test_a_link_out_of_the_root_is_not_followed(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "secret.png").write_bytes(b"secret")
    (folder / "link.png").symlink_to(tmp_path / "secret.png")
    entry = Entry("0", parse(str(folder / "link.png")).uri, None, "")
    assert _code(Fetcher(Roots.of([str(folder)])), entry) == "not_allowed"


def test_a_folder_that_became_a_link_is_not_followed(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/a.png").write_bytes(b"secret")
    (folder / "sub").symlink_to(tmp_path / "out")
    entry = Entry("0", parse(str(folder / "sub/a.png")).uri, None, "")
    assert _code(Fetcher(Roots.of([str(folder)])), entry) == "not_allowed"


def test_a_pipe_does_not_hold_up_the_others(folder: Path) -> None:
    os.mkfifo(folder / "pipe.png")
    entry = Entry("0", parse(str(folder / "pipe.png")).uri, None, "")
    assert _code(Fetcher(Roots.of([str(folder)])), entry) == "unreadable"


@pytest.mark.parametrize("uri", ["ftp://host/a.png", "s3://bucket/a?sig=1", "https://169.254.169.254/latest"])
def test_an_address_of_a_forged_manifest_is_not_read(uri: str, folder: Path) -> None:
    assert _code(Fetcher(Roots.of([str(folder)])), Entry("0", uri, None, "")) == "not_allowed"


def _changed_object(place: str, removed: str) -> None:
    store = open_store(parse(place))
    obstore.put(store, "a/ä #1.png", b"here")
    (entry,) = _entries(f"{place}/a")
    fetcher = Fetcher(Roots.of([place]))
    assert fetcher.fetch(entry) == b"here"
    obstore.put(store, "a/ä #1.png", b"gone")
    assert _code(fetcher, entry) == "changed"
    obstore.delete(store, "a/ä #1.png")
    assert _code(fetcher, entry) == removed


def test_an_object_is_read_until_it_is_changed_or_removed(bucket: str) -> None:
    _changed_object(bucket, "missing")


@pytest.mark.azurite
def test_a_blob_is_read_until_it_is_changed_or_removed(container: str) -> None:
    _changed_object(container, "changed")  # azurite looks at the condition first
