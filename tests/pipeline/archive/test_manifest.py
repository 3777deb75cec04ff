"""Manifests: every image once, whatever the archive is made of."""

import os
import shutil
from collections import Counter
from pathlib import Path

import obstore
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.archive import manifest
from pipeline.archive.addresses import parse
from pipeline.archive.manifest import Manifest, Sources
from pipeline.archive.object_stores import open_store
from pipeline.archive.sources import folders
from pipeline.errors import InputError
from tests.pipeline.archive.scorings import damage


def _ids(path: Path) -> dict[str, str]:
    found = pq.read_table(path).to_pydict()
    return dict(zip(found["uri"], found["id"], strict=True))


def test_a_folder_is_listed_in_order_with_sizes(archive: Path, listed: Manifest) -> None:
    rows = pq.read_table(listed.path).to_pylist()
    assert [Path(row["uri"]).name for row in rows] == ["0.png", "2.png", "1.png", "3.png", "broken.jpg", "cut.png"]
    assert {row["size"] for row in rows} == {path.stat().st_size for path in archive.rglob("*.*")}
    assert len({row["id"] for row in rows}) == listed.rows == 6
    assert listed.roots == (parse(str(archive)).uri,)


def test_a_file_keeps_its_id_until_it_is_changed(archive: Path, tmp_path: Path, listed: Manifest) -> None:
    before = _ids(listed.path)
    changed = archive / "0.png"
    os.utime(changed, ns=(1, 1))
    manifest.write(tmp_path / "again.parquet", Sources((str(archive),)))
    after = _ids(tmp_path / "again.parquet")
    assert {uri for uri in before if before[uri] != after[uri]} == {parse(str(changed)).uri}


def test_what_is_no_image_is_passed_over_and_counted(archive: Path, tmp_path: Path) -> None:
    (archive / ".hidden.png").touch()
    (archive / "notes.txt").touch()
    (archive / "out.png").symlink_to("/etc/hostname")
    (archive / "loop").symlink_to(archive)
    (archive / "itself.png").symlink_to("itself.png")
    (archive / "nowhere.png").symlink_to("nothing.png")
    found = manifest.write(tmp_path / "m.parquet", Sources((str(archive),)))
    assert found.rows == 6
    assert found.passed_over == {
        "hidden": 1,
        "no image by name": 1,
        "a link out of the folder": 1,
        "a link to a folder": 1,
        "cannot be read": 1,
        "no regular file": 1,
    }


def test_a_file_that_goes_while_the_folder_is_listed_is_passed_over(
    archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    passed_over: Counter[str] = Counter()
    found = folders.list_folder(parse(str(archive)), lambda reason: passed_over.update([reason]))
    next(found)
    (archive / "broken.jpg").unlink()
    left = len(list(found))
    assert left + passed_over.total() == 5
    assert passed_over.keys() <= {"cannot be read", "no regular file"}


@pytest.mark.parametrize("second", ["2020", "0.png", ""])
def test_an_image_that_is_listed_twice_is_refused(archive: Path, tmp_path: Path, second: str) -> None:
    with pytest.raises(InputError, match=r"\.png: is listed twice"):
        manifest.write(tmp_path / "m.parquet", Sources((str(archive), str(archive / second))))
    assert not (tmp_path / "m.parquet").exists()


@pytest.mark.parametrize(
    ("named", "said"),
    [("", "no image there"), ("nowhere", "no such file or folder"), ("gs://a/b", "is not read")],
)
def test_nothing_to_list_is_one_line(tmp_path: Path, named: str, said: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=said):
        manifest.write(tmp_path / "m.parquet", Sources((named or str(tmp_path / "empty"),)))


def test_nothing_at_all_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nothing to list"):
        manifest.write(tmp_path / "m.parquet", Sources(()))


@pytest.mark.parametrize(
    ("name", "said"), [("missing", "not found"), ("text", "is no manifest"), ("other", "was not written by")]
)
def test_what_is_no_manifest_is_one_line(tmp_path: Path, name: str, said: str) -> None:
    (tmp_path / "text").write_text("no")
    pq.write_table(manifest._table([]), tmp_path / "other")
    with pytest.raises(InputError, match=said):
        Manifest(tmp_path / name)


def test_a_manifest_of_nothing_is_one_line(tmp_path: Path, listed: Manifest) -> None:
    pq.write_table(pq.read_table(listed.path).slice(0, 0), tmp_path / "empty")
    with pytest.raises(InputError, match="lists no image"):
        Manifest(tmp_path / "empty")


def test_a_manifest_that_is_damaged_within_is_one_line(listed: Manifest) -> None:
    damage(listed.path)
    with pytest.raises(InputError, match=r"manifest\.parquet: is broken \(.*\); make it again"):
        list(listed.blocks(0, 6, 6))


def test_only_a_manifest_is_replaced(archive: Path, tmp_path: Path, listed: Manifest) -> None:
    image, table = archive / "0.png", tmp_path / "table.parquet"
    pq.write_table(pa.table({"a": [1]}), table)
    for target in (image, table):
        before = target.read_bytes()
        with pytest.raises(InputError, match="is there already, and no manifest"):
            manifest.write(target, Sources((str(archive),)))
        assert target.read_bytes() == before
    assert manifest.write(listed.path, Sources((str(archive),))).rows == 6


@pytest.mark.parametrize("name", ["s3:/bucket/m.parquet", "az:/c/m.parquet?sig=SECRET", "https:/host/m.parquet"])
def test_an_address_is_no_path(archive: Path, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    sources = Sources((str(archive),), (Path(name),))
    for act in (
        lambda: Manifest(Path(name)),
        lambda: manifest.write(Path(name), Sources((str(archive),))),
        lambda: list(sources.entries(print)),
    ):
        with pytest.raises(InputError, match="is an address where a file of this machine is expected") as found:
            act()
        assert "SECRET" not in str(found.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["archive"]


def test_rows_are_read_a_block_at_a_time(listed: Manifest) -> None:
    every = [entry.id for block in listed.blocks(0, 6, 6) for entry in block]
    assert [[entry.id for entry in block] for block in listed.blocks(1, 6, 2)] == [every[1:3], every[3:5], every[5:]]


def _lists_a_cloud(place: str, archive: Path, target: Path) -> None:
    store = open_store(parse(place))
    for path in archive.rglob("*.*"):
        obstore.put(store, f"x/{path.relative_to(archive)}", path)
    obstore.put(store, "x/notes.txt", b"")
    obstore.put(store, "xy/0.png", b"")
    found = manifest.write(target, Sources((f"{place}/x",)))
    assert found.rows == 6
    assert found.passed_over == {"no image by name": 1}
    table = pq.read_table(target).to_pydict()
    assert f"{place}/x/2020/1.png" in table["uri"]
    assert all(table["etag"])


def test_a_bucket_is_listed(bucket: str, archive: Path, tmp_path: Path) -> None:
    _lists_a_cloud(bucket, archive, tmp_path / "m.parquet")


@pytest.mark.azurite
def test_a_container_is_listed(container: str, archive: Path, tmp_path: Path) -> None:
    _lists_a_cloud(container, archive, tmp_path / "m.parquet")


def test_a_bucket_that_is_not_there_is_one_line(bucket: str, tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"s3://nobodys/: the store does not answer \(404 Not Found: NoSuchBucket\)"
    ) as found:
        manifest.write(tmp_path / "m.parquet", Sources(("s3://nobodys",)))
    assert "\n" not in str(found.value)


def test_a_list_names_files_relative_to_itself(archive: Path, tmp_path: Path) -> None:
    (archive / "list").write_text("# two of them\n0.png\n\n2020/1.png\n")
    found = manifest.write(tmp_path / "m.parquet", Sources((), (archive / "list",), roots=(str(archive),)))
    assert found.rows == 2


def test_a_list_is_named_from_the_current_folder(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (archive / "list").write_text("0.png\n2020/1.png\n")
    for folder, name in ((archive, "list"), (tmp_path, "archive/list")):
        monkeypatch.chdir(folder)
        found = manifest.write(tmp_path / "m.parquet", Sources((), (Path(name),), roots=(str(archive),)))
        assert found.rows == 2


def test_a_list_of_windows_is_read(archive: Path, tmp_path: Path) -> None:
    (archive / "list").write_bytes(b"\xef\xbb\xbf0.png\r\n2020/1.png\r\n")
    found = manifest.write(tmp_path / "m.parquet", Sources((), (archive / "list",), roots=(str(archive),)))
    assert found.rows == 2


def test_a_list_of_nothing_is_named(archive: Path, tmp_path: Path) -> None:
    (archive / "list").write_text("# none yet\n")
    with pytest.raises(InputError, match="list: no image there"):
        manifest.write(tmp_path / "m.parquet", Sources((), (archive / "list",), roots=(str(archive),)))


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("/etc/hostname", "list, line 2: file:///etc/hostname: lies below none of the roots"),
        ("../outside.png", "lies below none of the roots"),
        ("nowhere.png", "list, line 2: .*nowhere.png: cannot be read"),
        ("http://169.254.169.254/latest/meta-data", "lies below none of the roots"),
        ("gopher://host/a", "is not read"),
    ],
)
def test_a_list_cannot_lead_elsewhere(archive: Path, tmp_path: Path, line: str, said: str) -> None:
    shutil.copy(archive / "0.png", archive.parent / "outside.png")
    (archive / "list").write_text(f"0.png\n{line}\n")
    with pytest.raises(InputError, match=said):
        manifest.write(tmp_path / "m.parquet", Sources((), (archive / "list",), roots=(str(archive),)))


def test_a_list_needs_a_root(archive: Path, tmp_path: Path) -> None:
    (archive / "list").write_text("0.png\n")
    with pytest.raises(InputError, match="needs --root"):
        manifest.write(tmp_path / "m.parquet", Sources((), (archive / "list",)))
